// The driver object and its registry keys.
#ifndef _WDFDRIVER_H_
#define _WDFDRIVER_H_

typedef enum _WDF_DRIVER_INIT_FLAGS {
    WdfDriverInitNonPnpDriver = 0x00000001,
    WdfDriverInitNoDispatchOverride = 0x00000002,
    WdfVerifyOn = 0x00000004,
    WdfVerifierOn = 0x00000008,
    WdfDriverInitCompanion = 0x00000010
} WDF_DRIVER_INIT_FLAGS;

typedef NTSTATUS(NTAPI EVT_WDF_DRIVER_DEVICE_ADD)(WDFDRIVER Driver, PWDFDEVICE_INIT DeviceInit);
typedef EVT_WDF_DRIVER_DEVICE_ADD *PFN_WDF_DRIVER_DEVICE_ADD;
typedef VOID(NTAPI EVT_WDF_DRIVER_UNLOAD)(WDFDRIVER Driver);
typedef EVT_WDF_DRIVER_UNLOAD *PFN_WDF_DRIVER_UNLOAD;

typedef struct _WDF_DRIVER_CONFIG {
    ULONG Size;
    PFN_WDF_DRIVER_DEVICE_ADD EvtDriverDeviceAdd;
    PFN_WDF_DRIVER_UNLOAD EvtDriverUnload;
    ULONG DriverInitFlags;
    ULONG DriverPoolTag;
} WDF_DRIVER_CONFIG, *PWDF_DRIVER_CONFIG;

typedef NTSTATUS(NTAPI *PFN_WDFDRIVERCREATE)(PWDF_DRIVER_GLOBALS DriverGlobals, PDRIVER_OBJECT DriverObject,
                                             PCUNICODE_STRING RegistryPath, PWDF_OBJECT_ATTRIBUTES DriverAttributes,
                                             PWDF_DRIVER_CONFIG DriverConfig, WDFDRIVER *Driver);
typedef PWSTR(NTAPI *PFN_WDFDRIVERGETREGISTRYPATH)(PWDF_DRIVER_GLOBALS DriverGlobals, WDFDRIVER Driver);
typedef PDRIVER_OBJECT(NTAPI *PFN_WDFDRIVERWDMGETDRIVEROBJECT)(PWDF_DRIVER_GLOBALS DriverGlobals, WDFDRIVER Driver);
typedef NTSTATUS(NTAPI *PFN_WDFDRIVEROPENPARAMETERSREGISTRYKEY)(PWDF_DRIVER_GLOBALS DriverGlobals, WDFDRIVER Driver,
                                                                ACCESS_MASK DesiredAccess,
                                                                PWDF_OBJECT_ATTRIBUTES KeyAttributes, WDFKEY *Key);

typedef NTSTATUS(NTAPI *PFN_WDFREGISTRYOPENKEY)(PWDF_DRIVER_GLOBALS DriverGlobals, WDFKEY ParentKey,
                                                PCUNICODE_STRING KeyName, ACCESS_MASK DesiredAccess,
                                                PWDF_OBJECT_ATTRIBUTES KeyAttributes, WDFKEY *Key);
typedef VOID(NTAPI *PFN_WDFREGISTRYCLOSE)(PWDF_DRIVER_GLOBALS DriverGlobals, WDFKEY Key);
typedef HANDLE(NTAPI *PFN_WDFREGISTRYWDMGETHANDLE)(PWDF_DRIVER_GLOBALS DriverGlobals, WDFKEY Key);
typedef NTSTATUS(NTAPI *PFN_WDFREGISTRYQUERYVALUE)(PWDF_DRIVER_GLOBALS DriverGlobals, WDFKEY Key,
                                                   PCUNICODE_STRING ValueName, ULONG ValueLength, PVOID Value,
                                                   PULONG ValueLengthQueried, PULONG ValueType);
typedef NTSTATUS(NTAPI *PFN_WDFREGISTRYQUERYULONG)(PWDF_DRIVER_GLOBALS DriverGlobals, WDFKEY Key,
                                                   PCUNICODE_STRING ValueName, PULONG Value);

#endif
