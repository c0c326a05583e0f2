/* A driver with a control device: opens, closes, a control code that answers its input doubled, one that pends until a
   work item completes it, and a busy loop for the profiler. */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int NTSTATUS;
typedef struct { unsigned short length, maximum; unsigned short *buffer; } UNICODE_STRING;
typedef struct DEVICE DEVICE;
typedef struct { u8 major, minor, flags, control; u32 pad; u64 parameters[4]; DEVICE *device; void *file, *routine, *context; } STACK;
typedef struct { u8 a[0x18]; u8 *buffer; u8 b[0x10]; int status; u32 pad; u64 information; u8 c[0x78]; STACK *stack; u8 d[0x10]; } IRP;
typedef struct { u8 head[0x68]; void (*unload)(void *); NTSTATUS (*major[28])(DEVICE *, IRP *); } DRIVER;
_Static_assert(sizeof(IRP) == 0xd0 && __builtin_offsetof(IRP, stack) == 0xb8, "the documented layout");

#define IMPORT __declspec(dllimport)
IMPORT NTSTATUS IoCreateDevice(DRIVER *, u32, UNICODE_STRING *, u32, u32, u8, DEVICE **);
IMPORT void IoDeleteDevice(DEVICE *);
IMPORT NTSTATUS IoCreateSymbolicLink(UNICODE_STRING *, UNICODE_STRING *);
IMPORT NTSTATUS IoDeleteSymbolicLink(UNICODE_STRING *);
IMPORT NTSTATUS IoRegisterShutdownNotification(DEVICE *);
IMPORT void *IoAllocateWorkItem(DEVICE *);
IMPORT void IoQueueWorkItem(void *, void (*)(DEVICE *, void *), u32, void *);
IMPORT void IoFreeWorkItem(void *);
IMPORT void IofCompleteRequest(IRP *, char);
IMPORT void RtlInitUnicodeString(UNICODE_STRING *, const unsigned short *);
IMPORT u64 KeQueryInterruptTimePrecise(u64 *);
IMPORT u32 DbgPrint(const char *, ...);

static DEVICE *device;
static void *item;
static UNICODE_STRING name, link;

static NTSTATUS finish(IRP *irp, NTSTATUS status, u64 information) {
  irp->status = status;
  irp->information = information;
  IofCompleteRequest(irp, 0);
  return status;
}

static NTSTATUS trivial(DEVICE *d, IRP *irp) {
  (void)d;
  DbgPrint("major %d\n", irp->stack->major);
  return finish(irp, 0, 0);
}

static void later(DEVICE *d, void *irp) { (void)d; finish(irp, 0, 0); }

static NTSTATUS control(DEVICE *d, IRP *irp) {
  (void)d;
  u32 code = (u32)irp->stack->parameters[2];
  u64 length = (u32)irp->stack->parameters[1], room = (u32)irp->stack->parameters[0];
  if (code == 0x222000) {
    for (u64 i = 0; i < length && i < room; i++) irp->buffer[i] *= 2;
    return finish(irp, 0, length < room ? length : room);
  }
  if (code == 0x222004) {
    irp->stack->control |= 1;
    IoQueueWorkItem(item, later, 1, irp);
    return 0x103;
  }
  if (code == 0x222008) {
    volatile u64 spins = 0;
    for (u64 i = 0; i < 400000000ull; i++) spins++;
    return finish(irp, 0, 0);
  }
  return finish(irp, (NTSTATUS)0xc0000010, 0);
}

static void unload(void *driver) {
  (void)driver;
  IoFreeWorkItem(item);
  IoDeleteSymbolicLink(&link);
  IoDeleteDevice(device);
}

NTSTATUS DriverEntry(DRIVER *driver, UNICODE_STRING *path) {
  (void)path;
  RtlInitUnicodeString(&name, u"\\Device\\Tried");
  RtlInitUnicodeString(&link, u"\\DosDevices\\Tried");
  NTSTATUS status = IoCreateDevice(driver, 0, &name, 0x22, 0, 0, &device);
  if (status < 0) return status;
  status = IoCreateSymbolicLink(&link, &name);
  if (status < 0) { IoDeleteDevice(device); return status; }
  status = IoRegisterShutdownNotification(device);
  if (status < 0) { IoDeleteSymbolicLink(&link); IoDeleteDevice(device); return status; }
  item = IoAllocateWorkItem(device);
  if (!item) { IoDeleteSymbolicLink(&link); IoDeleteDevice(device); return (NTSTATUS)0xc000009a; }
  driver->major[0] = driver->major[2] = driver->major[0x10] = driver->major[0x12] = trivial;
  driver->major[0x0e] = control;
  driver->unload = unload;
  return 0;
}
