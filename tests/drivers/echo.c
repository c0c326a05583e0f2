/* TCP echo as a driver author writes it in C: WskRegister, one receive and one send IRP per connection, one buffer, nothing
   copied. It is what the library is measured against, and shows that the bench and sdk/ serve drivers in C.

   Each connection, and the listener, is an actor: whatever happens to it is a signal, and its turns are taken one
   after the other in a DPC. So no two threads are inside a socket's functions when it is closed, and no function of WSK
   is entered from a completion routine. */
#include <ntddk.h>
#include <wsk.h>

#define TAG 'ohcE'
#define ROOM 65536
/* Turns before others run. */
#define TURNS 32

typedef struct ACTOR {
    KDPC Dpc;
    /* Signals that no turn has answered yet. */
    volatile LONG Signals;
    /* One for each IRP that is out, one while a turn is due. */
    volatile LONG References;
    /* An IRP is back. */
    volatile LONG Back;
    BOOLEAN Closed;
    PWSK_SOCKET Socket;
    PIRP Close;
    VOID (*Turn)(struct ACTOR *);
    VOID (*Free)(struct ACTOR *);
} ACTOR;

typedef enum { START, RECEIVING, SENDING, FINISHING } PHASE;

typedef struct {
    ACTOR Actor;
    LIST_ENTRY Link;
    PHASE Phase;
    PIRP Receive;
    PIRP Send;
    PMDL Mdl;
    WSK_BUF Buffer;
    UCHAR Bytes[ROOM];
} CONNECTION;

typedef struct {
    ACTOR Actor;
    PIRP Accept;
    BOOLEAN Accepting;
} LISTENER;

static const WSK_CLIENT_DISPATCH Dispatch = {MAKE_WSK_VERSION(1, 0), 0, NULL};
static WSK_REGISTRATION Registration;
static WSK_PROVIDER_NPI Provider;
static PDEVICE_OBJECT Device;
static LISTENER Listener;
static LIST_ENTRY Connections;
static KSPIN_LOCK Lock;
static KEVENT AllGone;
static volatile LONG Alive;
static volatile LONG Stopping;

/* Actors. */

static VOID Release(ACTOR *actor) {
    if (InterlockedDecrement(&actor->References) == 0) {
        actor->Free(actor);
        if (InterlockedDecrement(&Alive) == 0) {
            KeSetEvent(&AllGone, 0, FALSE);
        }
    }
}

static VOID Signal(ACTOR *actor) {
    if (InterlockedIncrement(&actor->Signals) == 1) {
        InterlockedIncrement(&actor->References);
        KeInsertQueueDpc(&actor->Dpc, NULL, NULL);
    }
}

static VOID NTAPI Run(PKDPC dpc, PVOID context, PVOID one, PVOID two) {
    ACTOR *actor = context;
    UNREFERENCED_PARAMETER(one);
    UNREFERENCED_PARAMETER(two);
    for (int turns = 0;; turns++) {
        if (turns == TURNS) {
            KeInsertQueueDpc(dpc, NULL, NULL);
            return;
        }
        LONG seen = actor->Signals;
        actor->Turn(actor);
        if (InterlockedExchangeAdd(&actor->Signals, -seen) == seen) {
            break;
        }
    }
    Release(actor);
}

static NTSTATUS NTAPI Completed(PDEVICE_OBJECT device, PIRP irp, PVOID context) {
    ACTOR *actor = context;
    UNREFERENCED_PARAMETER(device);
    UNREFERENCED_PARAMETER(irp);
    InterlockedExchange(&actor->Back, 1);
    Signal(actor);
    Release(actor);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

static NTSTATUS NTAPI SocketClosed(PDEVICE_OBJECT device, PIRP irp, PVOID context) {
    UNREFERENCED_PARAMETER(device);
    UNREFERENCED_PARAMETER(irp);
    Release(context);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

static VOID Arm(ACTOR *actor, PIRP irp) {
    InterlockedIncrement(&actor->References);
    IoReuseIrp(irp, STATUS_SUCCESS);
    IoSetCompletionRoutine(irp, Completed, actor, TRUE, TRUE, TRUE);
}

/* The close IRP is armed from the beginning, and holds the first reference; the device keeps the image until its routine
   has returned. */
static NTSTATUS Begin(ACTOR *actor, VOID (*turn)(ACTOR *), VOID (*release)(ACTOR *)) {
    actor->Close = IoAllocateIrp(1, FALSE);
    if (actor->Close == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    NTSTATUS status = IoSetCompletionRoutineEx(Device, actor->Close, SocketClosed, actor, TRUE, TRUE, TRUE);
    if (!NT_SUCCESS(status)) {
        IoFreeIrp(actor->Close);
        actor->Close = NULL;
        return status;
    }
    actor->Turn = turn;
    actor->Free = release;
    actor->References = 1;
    KeInitializeDpc(&actor->Dpc, Run, actor);
    InterlockedIncrement(&Alive);
    return STATUS_SUCCESS;
}

static VOID CloseSocket(ACTOR *actor) {
    const WSK_PROVIDER_BASIC_DISPATCH *table = actor->Socket->Dispatch;
    actor->Closed = TRUE;
    table->WskCloseSocket(actor->Socket, actor->Close);
}

/* Connections. */

static VOID FreeConnection(ACTOR *actor) {
    CONNECTION *connection = CONTAINING_RECORD(actor, CONNECTION, Actor);
    if (connection->Mdl != NULL) {
        IoFreeMdl(connection->Mdl);
    }
    if (connection->Receive != NULL) {
        IoFreeIrp(connection->Receive);
    }
    if (connection->Send != NULL) {
        IoFreeIrp(connection->Send);
    }
    if (actor->Close != NULL) {
        IoFreeIrp(actor->Close);
    }
    ExFreePoolWithTag(connection, TAG);
}

static VOID CloseConnection(CONNECTION *connection) {
    KIRQL irql = KeAcquireSpinLockRaiseToDpc(&Lock);
    RemoveEntryList(&connection->Link);
    KeReleaseSpinLock(&Lock, irql);
    CloseSocket(&connection->Actor);
}

static VOID StartReceive(CONNECTION *connection) {
    ACTOR *actor = &connection->Actor;
    const WSK_PROVIDER_CONNECTION_DISPATCH *table = actor->Socket->Dispatch;
    connection->Phase = RECEIVING;
    connection->Buffer.Length = ROOM;
    Arm(actor, connection->Receive);
    table->WskReceive(actor->Socket, &connection->Buffer, 0, connection->Receive);
}

static VOID StartSend(CONNECTION *connection, SIZE_T length) {
    ACTOR *actor = &connection->Actor;
    const WSK_PROVIDER_CONNECTION_DISPATCH *table = actor->Socket->Dispatch;
    connection->Phase = SENDING;
    connection->Buffer.Length = length;
    Arm(actor, connection->Send);
    table->WskSend(actor->Socket, &connection->Buffer, WSK_FLAG_NODELAY, connection->Send);
}

static VOID StartFinish(CONNECTION *connection) {
    ACTOR *actor = &connection->Actor;
    const WSK_PROVIDER_CONNECTION_DISPATCH *table = actor->Socket->Dispatch;
    connection->Phase = FINISHING;
    Arm(actor, connection->Send);
    table->WskDisconnect(actor->Socket, NULL, 0, connection->Send);
}

static VOID ConnectionTurn(ACTOR *actor) {
    CONNECTION *connection = CONTAINING_RECORD(actor, CONNECTION, Actor);
    BOOLEAN back = (BOOLEAN)InterlockedExchange(&actor->Back, 0);
    if (actor->Closed) {
        return;
    }
    if (Stopping) {
        CloseConnection(connection);
        return;
    }
    PIRP irp = connection->Phase == RECEIVING ? connection->Receive : connection->Send;
    if (connection->Phase != START && !back) {
        return;
    }
    if (connection->Phase != START && !NT_SUCCESS(irp->IoStatus.Status)) {
        CloseConnection(connection);
    } else if (connection->Phase == FINISHING) {
        CloseConnection(connection);
    } else if (connection->Phase != RECEIVING) {
        StartReceive(connection);
    } else if (irp->IoStatus.Information == 0) {
        StartFinish(connection);
    } else {
        StartSend(connection, irp->IoStatus.Information);
    }
}

static CONNECTION *NewConnection(VOID) {
    CONNECTION *connection = ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(CONNECTION), TAG);
    if (connection == NULL) {
        return NULL;
    }
    connection->Receive = IoAllocateIrp(1, FALSE);
    connection->Send = IoAllocateIrp(1, FALSE);
    connection->Mdl = IoAllocateMdl(connection->Bytes, ROOM, FALSE, FALSE, NULL);
    BOOLEAN complete = connection->Receive != NULL && connection->Send != NULL && connection->Mdl != NULL;
    if (!complete || !NT_SUCCESS(Begin(&connection->Actor, ConnectionTurn, FreeConnection))) {
        FreeConnection(&connection->Actor);
        return NULL;
    }
    MmBuildMdlForNonPagedPool(connection->Mdl);
    connection->Buffer.Mdl = connection->Mdl;
    return connection;
}

/* Gives a connection its socket, and its first turn. */
static VOID Serve(PWSK_SOCKET socket, CONNECTION *connection) {
    connection->Actor.Socket = socket;
    KIRQL irql = KeAcquireSpinLockRaiseToDpc(&Lock);
    InsertTailList(&Connections, &connection->Link);
    KeReleaseSpinLock(&Lock, irql);
    Signal(&connection->Actor);
}

/* The listener. */

static CONNECTION *Next;

/* A connection that nobody came for: its close IRP is completed here, for what arming it took has to be given back. */
static VOID Discard(CONNECTION *connection) {
    PIRP irp = connection->Actor.Close;
    irp->CurrentLocation--;
    irp->Tail.Overlay.CurrentStackLocation--;
    irp->IoStatus.Status = STATUS_CANCELLED;
    IofCompleteRequest(irp, 0);
}

static VOID ListenerTurn(ACTOR *actor) {
    LISTENER *listener = CONTAINING_RECORD(actor, LISTENER, Actor);
    const WSK_PROVIDER_LISTEN_DISPATCH *table = actor->Socket->Dispatch;
    BOOLEAN back = (BOOLEAN)InterlockedExchange(&actor->Back, 0);
    if (back && listener->Accepting) {
        listener->Accepting = FALSE;
        if (NT_SUCCESS(listener->Accept->IoStatus.Status)) {
            Serve((PWSK_SOCKET)listener->Accept->IoStatus.Information, Next);
            Next = NULL;
        }
    }
    if (actor->Closed || listener->Accepting) {
        if (Stopping && !actor->Closed) {
            CloseSocket(actor);
        }
        return;
    }
    if (Stopping) {
        CloseSocket(actor);
        return;
    }
    if (Next == NULL) {
        Next = NewConnection();
    }
    if (Next == NULL) {
        DbgPrint("echo: no memory for a connection: accepting no more\n");
        return;
    }
    listener->Accepting = TRUE;
    Arm(actor, listener->Accept);
    table->WskAccept(actor->Socket, 0, NULL, NULL, NULL, NULL, listener->Accept);
}

static VOID FreeListener(ACTOR *actor) {
    IoFreeIrp(CONTAINING_RECORD(actor, LISTENER, Actor)->Accept);
    IoFreeIrp(actor->Close);
}

/* Waiting for an IRP, at PASSIVE_LEVEL. */

static NTSTATUS NTAPI SetEvent(PDEVICE_OBJECT device, PIRP irp, PVOID event) {
    UNREFERENCED_PARAMETER(device);
    UNREFERENCED_PARAMETER(irp);
    KeSetEvent(event, 0, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

static PIRP Prepare(PIRP irp, PKEVENT event) {
    IoReuseIrp(irp, STATUS_SUCCESS);
    KeInitializeEvent(event, SynchronizationEvent, FALSE);
    IoSetCompletionRoutine(irp, SetEvent, event, TRUE, TRUE, TRUE);
    return irp;
}

static NTSTATUS Await(PIRP irp, PKEVENT event) {
    KeWaitForSingleObject(event, Executive, KernelMode, FALSE, NULL);
    return irp->IoStatus.Status;
}

static NTSTATUS Listen(PIRP irp) {
    KEVENT event;
    SOCKADDR_IN address = {AF_INET};
    address.sin_addr.S_un.S_addr = 0x0100007f;
    Provider.Dispatch->WskSocket(Provider.Client, AF_INET, SOCK_STREAM, IPPROTO_TCP, WSK_FLAG_LISTEN_SOCKET, NULL, NULL, NULL,
                                 NULL, NULL, Prepare(irp, &event));
    NTSTATUS status = Await(irp, &event);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    PWSK_SOCKET socket = (PWSK_SOCKET)irp->IoStatus.Information;
    const WSK_PROVIDER_LISTEN_DISPATCH *table = socket->Dispatch;
    Listener.Actor.Socket = socket;
    table->WskBind(socket, (PSOCKADDR)&address, 0, Prepare(irp, &event));
    status = Await(irp, &event);
    if (NT_SUCCESS(status)) {
        table->WskGetLocalAddress(socket, (PSOCKADDR)&address, Prepare(irp, &event));
        status = Await(irp, &event);
    }
    if (NT_SUCCESS(status)) {
        unsigned port = (unsigned)((address.sin_port >> 8) | ((address.sin_port & 0xff) << 8));
        DbgPrint("echo: listening at 127.0.0.1:%u\n", port);
    }
    return status;
}

/* Load and unload. */

static VOID Stop(VOID) {
    InterlockedExchange(&Stopping, 1);
    Signal(&Listener.Actor);
    KIRQL irql = KeAcquireSpinLockRaiseToDpc(&Lock);
    for (PLIST_ENTRY link = Connections.Flink; link != &Connections; link = link->Flink) {
        Signal(&CONTAINING_RECORD(link, CONNECTION, Link)->Actor);
    }
    KeReleaseSpinLock(&Lock, irql);
    if (InterlockedDecrement(&Alive) != 0) {
        /* The connection that waits for its peer is given up when the listener is gone. */
        while (Listener.Actor.References != 0) {
            LARGE_INTEGER moment;
            moment.QuadPart = -10000;
            KeDelayExecutionThread(KernelMode, FALSE, &moment);
        }
        if (Next != NULL) {
            Discard(Next);
        }
        KeWaitForSingleObject(&AllGone, Executive, KernelMode, FALSE, NULL);
    }
    KeFlushQueuedDpcs();
}

static VOID NTAPI Unload(PDRIVER_OBJECT driver) {
    UNREFERENCED_PARAMETER(driver);
    Stop();
    WskReleaseProviderNPI(&Registration);
    WskDeregister(&Registration);
    IoDeleteDevice(Device);
}

static NTSTATUS Start(VOID) {
    Listener.Accept = IoAllocateIrp(1, FALSE);
    if (Listener.Accept == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    NTSTATUS status = Begin(&Listener.Actor, ListenerTurn, FreeListener);
    if (!NT_SUCCESS(status)) {
        IoFreeIrp(Listener.Accept);
        return status;
    }
    status = Listen(Listener.Accept);
    if (NT_SUCCESS(status)) {
        Signal(&Listener.Actor);
        return STATUS_SUCCESS;
    }
    if (Listener.Actor.Socket != NULL) {
        Stop();
    } else {
        Discard((CONNECTION *)&Listener);
    }
    return status;
}

NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT driver, PUNICODE_STRING path) {
    WSK_CLIENT_NPI client = {NULL, &Dispatch};
    UNREFERENCED_PARAMETER(path);
    InitializeListHead(&Connections);
    KeInitializeSpinLock(&Lock);
    KeInitializeEvent(&AllGone, NotificationEvent, FALSE);
    Alive = 1;
    NTSTATUS status = IoCreateDevice(driver, 0, NULL, FILE_DEVICE_NETWORK, 0, FALSE, &Device);
    if (!NT_SUCCESS(status)) {
        return status;
    }
    status = WskRegister(&client, &Registration);
    if (NT_SUCCESS(status)) {
        status = WskCaptureProviderNPI(&Registration, WSK_INFINITE_WAIT, &Provider);
        if (NT_SUCCESS(status)) {
            status = Start();
            if (!NT_SUCCESS(status)) {
                WskReleaseProviderNPI(&Registration);
            }
        }
        if (!NT_SUCCESS(status)) {
            WskDeregister(&Registration);
        }
    }
    if (!NT_SUCCESS(status)) {
        IoDeleteDevice(Device);
        return status;
    }
    driver->DriverUnload = Unload;
    return STATUS_SUCCESS;
}
