// The entry point of a KMDF driver: binds to the framework, calls DriverEntry, and unbinds when it fails or unloads.
// It stands in for the WDK's WdfDriverEntry.lib on hosts without a WDK.
#include <ntddk.h>
#include <wdf.h>

typedef struct _WDF_VERSION {
    ULONG Major;
    ULONG Minor;
    ULONG Build;
} WDF_VERSION;

typedef struct _WDF_BIND_INFO {
    ULONG Size;
    PWCHAR Component;
    WDF_VERSION Version;
    ULONG FuncCount;
    WDFFUNC *FuncTable;
    PVOID Module;
} WDF_BIND_INFO, *PWDF_BIND_INFO;

NTSYSAPI NTSTATUS NTAPI WdfVersionBind(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath,
                                       PWDF_BIND_INFO BindInfo, PWDF_DRIVER_GLOBALS *ComponentGlobals);
NTSYSAPI NTSTATUS NTAPI WdfVersionUnbind(PUNICODE_STRING RegistryPath, PWDF_BIND_INFO BindInfo,
                                         PWDF_DRIVER_GLOBALS ComponentGlobals);

DRIVER_INITIALIZE DriverEntry;
DRIVER_INITIALIZE FxDriverEntry;

// What bindings of KMDF refer to. The loader stores the address of its table in WdfFunctions at bind.
const WDFFUNC *WdfFunctions;
PWDF_DRIVER_GLOBALS WdfDriverGlobals;
ULONG WdfFunctionCount = WdfFunctionTableNumEntries;
BOOLEAN WdfClientVersionHigherThanFramework = FALSE;

static WCHAR ComponentName[] = {'K', 'm', 'd', 'f', 'L', 'i', 'b', 'r', 'a', 'r', 'y', 0};

static WDF_BIND_INFO BindInfo = {
    sizeof(WDF_BIND_INFO), ComponentName, {1, 31, 0}, WdfFunctionTableNumEntries, (WDFFUNC *)&WdfFunctions, NULL};

static WCHAR RegistryPathBuffer[260];
static UNICODE_STRING RegistryPathCopy;
static PDRIVER_UNLOAD DisplacedUnload;

static VOID Unbind(VOID)
{
    WdfVersionUnbind(&RegistryPathCopy, &BindInfo, WdfDriverGlobals);
}

static VOID Unload(PDRIVER_OBJECT DriverObject)
{
    if (DisplacedUnload != NULL) {
        DisplacedUnload(DriverObject);
    }
    Unbind();
}

NTSTATUS FxDriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS status;

    // A driver without an object (loaded as a library) has nothing to bind.
    if (DriverObject == NULL) {
        return DriverEntry(DriverObject, RegistryPath);
    }

    RegistryPathCopy.Buffer = RegistryPathBuffer;
    RegistryPathCopy.Length = 0;
    RegistryPathCopy.MaximumLength = sizeof(RegistryPathBuffer);
    RtlCopyUnicodeString(&RegistryPathCopy, RegistryPath);

    status = WdfVersionBind(DriverObject, &RegistryPathCopy, &BindInfo, &WdfDriverGlobals);
    if (!NT_SUCCESS(status)) {
        return status;
    }

    status = DriverEntry(DriverObject, RegistryPath);
    if (!NT_SUCCESS(status)) {
        Unbind();
        return status;
    }

    // The framework says whether unload is to be displaced, and then has put its own routine there.
    if (WdfDriverGlobals->DisplaceDriverUnload) {
        DisplacedUnload = DriverObject->DriverUnload;
        DriverObject->DriverUnload = Unload;
    }
    return status;
}
