//! Sizes and offsets of the windows-sys crate, which Microsoft generates from the headers' metadata.

use std::mem::{offset_of, size_of};

use windows_sys::{
    Wdk::{
        Foundation::{
            DEVICE_OBJECT, DISPATCHER_HEADER, DRIVER_EXTENSION, DRIVER_OBJECT, FILE_OBJECT, IO_STACK_LOCATION, IRP,
            KDEVICE_QUEUE, KDPC, KEVENT, MDL, OBJECT_ATTRIBUTES, SECTION_OBJECT_POINTERS,
        },
        System::SystemServices::{EX_RUNDOWN_REF, KAPC, KDEVICE_QUEUE_ENTRY, OBJECT_HANDLE_INFORMATION, WAIT_CONTEXT_BLOCK},
    },
    Win32::{
        Foundation::{LUID, UNICODE_STRING},
        Networking::WinSock::{
            ADDRINFOEXW, CMSGHDR, IN_PKTINFO, IN6_PKTINFO, IP_MREQ, IP_MREQ_SOURCE, IPV6_MREQ, NPI_MODULEID, SOCKADDR,
            SOCKADDR_IN, SOCKADDR_IN6, SOCKADDR_INET, SOCKADDR_STORAGE, SOCKET_ADDRESS, SOCKET_ADDRESS_LIST, WSABUF,
            tcp_keepalive,
        },
        System::{
            IO::IO_STATUS_BLOCK,
            Kernel::{LIST_ENTRY, PROCESSOR_NUMBER, SINGLE_LIST_ENTRY, STRING},
            SystemInformation::GROUP_AFFINITY,
            WindowsProgramming::CLIENT_ID,
        },
    },
    core::GUID,
};

use super::{Layout, Layouts};

/// Lists fields: of the same name on both sides, or `theirs as "ours"`.
macro_rules! layout {
    ($list:ident, $structure:ident, $name:literal: $($field:ident$(.$rest:ident)* $(as $ours:literal)?),* $(,)?) => {{
        let fields = [$((
            layout!(@name $field$(.$rest)*; $($ours)?),
            offset_of!($structure, $field$(.$rest)*) as u64 * 8,
        )),*];
        let fields = fields.into_iter().map(|(name, offset): (&str, u64)| (name.to_owned(), offset)).collect();
        $list.insert($name.to_owned(), Layout { size: size_of::<$structure>() as u64, fields });
    }};
    (@name $field:ident; ) => { stringify!($field) };
    (@name $($path:ident).+; $ours:literal) => { $ours };
}

/// The structures of `sdk/` that windows-sys has.
pub fn layouts() -> Layouts {
    let mut list = Layouts::new();
    basic(&mut list);
    dispatcher(&mut list);
    io(&mut list);
    objects(&mut list);
    sockets(&mut list);
    list
}

fn basic(list: &mut Layouts) {
    layout!(list, GUID, "GUID": data1 as "Data1", data2 as "Data2", data3 as "Data3", data4 as "Data4");
    layout!(list, LUID, "LUID": LowPart, HighPart);
    layout!(list, STRING, "STRING": Length, MaximumLength, Buffer);
    layout!(list, UNICODE_STRING, "UNICODE_STRING": Length, MaximumLength, Buffer);
    layout!(list, LIST_ENTRY, "LIST_ENTRY": Flink, Blink);
    layout!(list, SINGLE_LIST_ENTRY, "SINGLE_LIST_ENTRY": Next);
    layout!(list, PROCESSOR_NUMBER, "PROCESSOR_NUMBER": Group, Number, Reserved);
    layout!(list, GROUP_AFFINITY, "GROUP_AFFINITY": Mask, Group, Reserved);
    layout!(list, OBJECT_ATTRIBUTES, "OBJECT_ATTRIBUTES": Length, RootDirectory, ObjectName, Attributes,
        SecurityDescriptor, SecurityQualityOfService);
    layout!(list, CLIENT_ID, "CLIENT_ID": UniqueProcess, UniqueThread);
    layout!(list, OBJECT_HANDLE_INFORMATION, "OBJECT_HANDLE_INFORMATION": HandleAttributes, GrantedAccess);
    layout!(list, EX_RUNDOWN_REF, "EX_RUNDOWN_REF": Anonymous.Count as "Count", Anonymous.Ptr as "Ptr");
}

fn dispatcher(list: &mut Layouts) {
    layout!(list, DISPATCHER_HEADER, "DISPATCHER_HEADER": Anonymous.Anonymous1.Lock as "Lock",
        Anonymous.Anonymous2.Type as "Type", Anonymous.Anonymous2.Signalling as "Signalling",
        Anonymous.Anonymous2.Size as "Size", SignalState, WaitListHead);
    layout!(list, KEVENT, "KEVENT": Header, Header.SignalState as "Header.SignalState");
    layout!(list, KDPC, "KDPC": Anonymous.TargetInfoAsUlong as "TargetInfoAsUlong", Anonymous.Anonymous.Type as "Type",
        Anonymous.Anonymous.Importance as "Importance", Anonymous.Anonymous.Number as "Number", DpcListEntry,
        ProcessorHistory, DeferredRoutine, DeferredContext, SystemArgument1, SystemArgument2, DpcData);
    // Not KTIMER: the crate has the structure of 32-bit Windows, without Processor.
    layout!(list, KAPC, "KAPC": Type, Size, SpareLong0, Thread, ApcListEntry, Reserved, NormalContext, SystemArgument1,
        SystemArgument2, ApcStateIndex, ApcMode, Inserted);
    layout!(list, KDEVICE_QUEUE, "KDEVICE_QUEUE": Type, Size, DeviceListHead, Lock);
    layout!(list, KDEVICE_QUEUE_ENTRY, "KDEVICE_QUEUE_ENTRY": DeviceListEntry, SortKey, Inserted);
}

fn io(list: &mut Layouts) {
    layout!(list, MDL, "MDL": Next, Size, MdlFlags, Process, MappedSystemVa, StartVa, ByteCount, ByteOffset);
    layout!(list, IO_STATUS_BLOCK, "IO_STATUS_BLOCK": Anonymous.Status as "Status", Anonymous.Pointer as "Pointer",
        Information);
    layout!(list, IRP, "IRP": Type, Size, MdlAddress, Flags, AssociatedIrp,
        AssociatedIrp.SystemBuffer as "AssociatedIrp.SystemBuffer", ThreadListEntry, IoStatus, RequestorMode,
        PendingReturned, StackCount, CurrentLocation, Cancel, CancelIrql, ApcEnvironment, AllocationFlags, UserEvent,
        Overlay, CancelRoutine, UserBuffer, Tail, Tail.Overlay as "Tail.Overlay",
        Tail.Overlay.Thread as "Tail.Overlay.Thread", Tail.Overlay.AuxiliaryBuffer as "Tail.Overlay.AuxiliaryBuffer",
        Tail.Overlay.Anonymous2.ListEntry as "Tail.Overlay.ListEntry",
        Tail.Overlay.Anonymous2.Anonymous.CurrentStackLocation as "Tail.Overlay.CurrentStackLocation",
        Tail.Overlay.OriginalFileObject as "Tail.Overlay.OriginalFileObject", Tail.Apc as "Tail.Apc");
    // Not the members of Parameters: the crate's metadata has lost their POINTER_ALIGNMENT.
    layout!(list, IO_STACK_LOCATION, "IO_STACK_LOCATION": MajorFunction, MinorFunction, Flags, Control, Parameters,
        DeviceObject, FileObject, CompletionRoutine, Context);
    layout!(list, WAIT_CONTEXT_BLOCK, "WAIT_CONTEXT_BLOCK": DeviceRoutine, DeviceContext, NumberOfMapRegisters,
        DeviceObject, CurrentIrp, BufferChainingDpc);
}

fn objects(list: &mut Layouts) {
    layout!(list, DEVICE_OBJECT, "DEVICE_OBJECT": Type, Size, ReferenceCount, DriverObject, NextDevice, AttachedDevice,
        CurrentIrp, Timer, Flags, Characteristics, Vpb, DeviceExtension, DeviceType, StackSize, Queue,
        AlignmentRequirement, DeviceQueue, Dpc, ActiveThreadCount, SecurityDescriptor, DeviceLock, SectorSize, Spare1,
        DeviceObjectExtension, Reserved);
    layout!(list, DRIVER_OBJECT, "DRIVER_OBJECT": Type, Size, DeviceObject, Flags, DriverStart, DriverSize,
        DriverSection, DriverExtension, DriverName, HardwareDatabase, FastIoDispatch, DriverInit, DriverStartIo,
        DriverUnload, MajorFunction);
    layout!(list, DRIVER_EXTENSION, "DRIVER_EXTENSION": DriverObject, AddDevice, Count, ServiceKeyName);
    layout!(list, FILE_OBJECT, "FILE_OBJECT": Type, Size, DeviceObject, Vpb, FsContext, FsContext2,
        SectionObjectPointer, PrivateCacheMap, FinalStatus, RelatedFileObject, LockOperation, DeletePending, ReadAccess,
        WriteAccess, DeleteAccess, SharedRead, SharedWrite, SharedDelete, Flags, FileName, CurrentByteOffset, Waiters,
        Busy, LastLock, Lock, Event, CompletionContext, IrpListLock, IrpList, FileObjectExtension);
    layout!(list, SECTION_OBJECT_POINTERS, "SECTION_OBJECT_POINTERS": DataSectionObject, SharedCacheMap,
        ImageSectionObject);
}

fn sockets(list: &mut Layouts) {
    layout!(list, SOCKADDR, "SOCKADDR": sa_family, sa_data);
    layout!(list, SOCKADDR_IN, "SOCKADDR_IN": sin_family, sin_port, sin_addr, sin_zero);
    layout!(list, SOCKADDR_IN6, "SOCKADDR_IN6": sin6_family, sin6_port, sin6_flowinfo, sin6_addr,
        Anonymous.sin6_scope_id as "sin6_scope_id");
    layout!(list, SOCKADDR_STORAGE, "SOCKADDR_STORAGE": ss_family, __ss_align);
    layout!(list, SOCKADDR_INET, "SOCKADDR_INET": Ipv4, Ipv6, si_family);
    layout!(list, SOCKET_ADDRESS, "SOCKET_ADDRESS": lpSockaddr, iSockaddrLength);
    layout!(list, SOCKET_ADDRESS_LIST, "SOCKET_ADDRESS_LIST": iAddressCount, Address);
    layout!(list, WSABUF, "WSABUF": len, buf);
    layout!(list, CMSGHDR, "WSACMSGHDR": cmsg_len, cmsg_level, cmsg_type);
    layout!(list, ADDRINFOEXW, "ADDRINFOEXW": ai_flags, ai_family, ai_socktype, ai_protocol, ai_addrlen, ai_canonname,
        ai_addr, ai_blob, ai_bloblen, ai_provider, ai_next);
    layout!(list, IN_PKTINFO, "IN_PKTINFO": ipi_addr, ipi_ifindex);
    layout!(list, IN6_PKTINFO, "IN6_PKTINFO": ipi6_addr, ipi6_ifindex);
    layout!(list, IP_MREQ, "IP_MREQ": imr_multiaddr, imr_interface);
    layout!(list, IP_MREQ_SOURCE, "IP_MREQ_SOURCE": imr_multiaddr, imr_sourceaddr, imr_interface);
    layout!(list, IPV6_MREQ, "IPV6_MREQ": ipv6mr_multiaddr, ipv6mr_interface);
    layout!(list, tcp_keepalive, "TCP_KEEPALIVE": onoff, keepalivetime, keepaliveinterval);
    layout!(list, NPI_MODULEID, "NPI_MODULEID": Length, Type, Anonymous.Guid as "Guid", Anonymous.IfLuid as "IfLuid");
}
