/* A driver that breaks one rule, chosen by CASE. Its declarations are its own, from the public pages, so that the
   bench is judged by something that shares no header with it. */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int NTSTATUS;
typedef struct { u64 words[3]; } KEVENT;
typedef struct { u64 words[8]; } KDPC;
typedef struct { u64 words[8]; } KTIMER;
typedef struct DEVICE DEVICE;
typedef struct IRP IRP;
typedef struct { unsigned short length, maximum; unsigned short *buffer; } UNICODE_STRING;
typedef struct { u8 head[0x68]; void (*unload)(void *); void *major[28]; } DRIVER;

#define IMPORT __declspec(dllimport)
IMPORT void *ExAllocatePool2(u64, u64, u32);
IMPORT void ExFreePoolWithTag(void *, u32);
IMPORT void KeInitializeEvent(KEVENT *, u32, u8);
IMPORT int KeSetEvent(KEVENT *, int, u8);
IMPORT NTSTATUS KeWaitForSingleObject(void *, u32, char, u8, long long *);
IMPORT NTSTATUS KeDelayExecutionThread(char, u8, long long *);
IMPORT u8 KfRaiseIrql(u8);
IMPORT void KeLowerIrql(u8);
IMPORT u8 KeAcquireSpinLockRaiseToDpc(u64 *);
IMPORT void KeReleaseSpinLock(u64 *, u8);
IMPORT void KeInitializeDpc(KDPC *, void (*)(KDPC *, void *, void *, void *), void *);
IMPORT u8 KeInsertQueueDpc(KDPC *, void *, void *);
IMPORT void KeInitializeTimer(KTIMER *);
IMPORT u8 KeSetTimer(KTIMER *, long long, KDPC *);
IMPORT IRP *IoAllocateIrp(char, u8);
IMPORT void IoFreeIrp(IRP *);
IMPORT void IofCompleteRequest(IRP *, char);
IMPORT void *IoAllocateMdl(void *, u32, u8, u8, IRP *);
IMPORT void MmBuildMdlForNonPagedPool(void *);
IMPORT void *IoAllocateWorkItem(DEVICE *);
IMPORT void IoQueueWorkItem(void *, void (*)(DEVICE *, void *), u32, void *);
IMPORT void IoFreeWorkItem(void *);
IMPORT void IoDeleteDevice(DEVICE *);
IMPORT NTSTATUS IoCreateDevice(DRIVER *, u32, UNICODE_STRING *, u32, u32, u8, DEVICE **);
IMPORT NTSTATUS PsCreateSystemThread(void **, u32, void *, void *, void *, void (*)(void *), void *);
IMPORT NTSTATUS PsTerminateSystemThread(NTSTATUS);
IMPORT NTSTATUS ZwClose(void *);
IMPORT void KeBugCheckEx(u32, u64, u64, u64, u64);
IMPORT u32 DbgPrint(const char *, ...);
IMPORT NTSTATUS EtwRegister(const void *, void *, void *, u64 *);
IMPORT NTSTATUS EtwUnregister(u64);
IMPORT NTSTATUS EtwWriteTransfer(u64, const void *, const void *, const void *, u32, const void *);

#define TAG 0x54736554u /* 'TesT' */
#define NONPAGED 0x40
static u64 lock;
static KDPC dpc;
static KTIMER timer;
static volatile int go;

__declspec(noinline) static char *block(u64 size) { return ExAllocatePool2(NONPAGED, size, TAG); }
static void delay(long long ms) { long long t = -10000 * ms; KeDelayExecutionThread(0, 0, &t); }
static void sleeper(void *ms) { delay((long long)ms); DbgPrint("late\n"); PsTerminateSystemThread(0); }
static void on_dpc(KDPC *d, void *a, void *b, void *c) { (void)d; (void)a; (void)b; (void)c; go++; }
static void waits(KDPC *d, void *a, void *b, void *c) {
  (void)d; (void)a; (void)b; (void)c;
  KEVENT e; long long t = -10000; KeInitializeEvent(&e, 0, 0); KeWaitForSingleObject(&e, 0, 0, 0, &t);
}
static void start(void (*f)(void *), void *p) { void *h; PsCreateSystemThread(&h, 0, 0, 0, 0, f, p); ZwClose(h); }

static DEVICE *device;
static void *item;
static void slow(DEVICE *d, void *c) { (void)d; (void)c; IoFreeWorkItem(item); go = 1; delay(200); }
static void both(u64 *first, u64 *second) {
  u8 old = KeAcquireSpinLockRaiseToDpc(first);
  u8 inner = KeAcquireSpinLockRaiseToDpc(second);
  KeReleaseSpinLock(second, inner);
  KeReleaseSpinLock(first, old);
}

static const u8 provider[16] = {1, 2, 3, 4};
static const struct { unsigned short id; u8 version, channel, level, opcode; unsigned short task; u64 keyword; } plain = {7, 0, 0, 4};
static u64 traced(void) { u64 handle = 0; EtwRegister(provider, 0, 0, &handle); return handle; }
/* An event that describes itself: DATA bytes for its one field of four */
static void describe(u64 handle, u32 bytes) {
  static const u8 event[] = {13, 0, 0, 'T', 'o', 'l', 'd', 0, 'N', 'o', 'w', 0, 8}, name[] = {6, 0, 'T', 'e', 's', 0};
  static const u32 value = 4711;
  struct { u64 at; u32 size, type; } parts[3] = {{(u64)name, sizeof name, 2}, {(u64)event, sizeof event, 1}, {(u64)&value, bytes, 0}};
  EtwWriteTransfer(handle, &plain, 0, 0, 3, parts);
}

static void unload(void *driver) {
  (void)driver;
#if CASE == 19 /* a work item that outlives the unload routine: its device keeps the image */
  IoCreateDevice(driver, 0, 0, 0x22, 0, 0, &device);
  item = IoAllocateWorkItem(device);
  IoQueueWorkItem(item, slow, 1, 0);
  while (!go) delay(1);
  IoDeleteDevice(device);
#elif CASE == 20
  start(sleeper, (void *)300);
#elif CASE == 21
  KeInitializeDpc(&dpc, on_dpc, 0); KeInitializeTimer(&timer); KeSetTimer(&timer, -10000000, &dpc);
#endif
}

static void misbehave(DRIVER *driver) {
  (void)driver;
#if CASE == 1 /* pool leak */
  block(123);
#elif CASE == 2 /* double free */
  char *p = block(64); ExFreePoolWithTag(p, TAG); ExFreePoolWithTag(p, TAG);
#elif CASE == 3 /* overrun */
  char *p = block(64); p[64] = 1; ExFreePoolWithTag(p, TAG);
#elif CASE == 4 /* use after free */
  volatile char *p = block(64); ExFreePoolWithTag((void *)p, TAG); p[8] = 1;
#elif CASE == 5 /* wrong tag */
  ExFreePoolWithTag(block(64), 0x21212121);
#elif CASE == 6 /* wait at DISPATCH_LEVEL */
  KeInitializeDpc(&dpc, waits, 0); KeInsertQueueDpc(&dpc, 0, 0);
#elif CASE == 7 /* returns with a spin lock */
  KeAcquireSpinLockRaiseToDpc(&lock);
#elif CASE == 8 /* releases a lock that it does not hold */
  u8 old = KfRaiseIrql(2); KeReleaseSpinLock(&lock, old);
#elif CASE == 9 /* recursion */
  KeAcquireSpinLockRaiseToDpc(&lock); KeAcquireSpinLockRaiseToDpc(&lock);
#elif CASE == 10 /* IRP leak */
  IoAllocateIrp(1, 0);
#elif CASE == 11 /* IRP freed twice */
  IRP *irp = IoAllocateIrp(1, 0); IoFreeIrp(irp); IoFreeIrp(irp);
#elif CASE == 12 /* completed without having been sent */
  IRP *irp = IoAllocateIrp(1, 0); IofCompleteRequest(irp, 0); IoFreeIrp(irp);
#elif CASE == 13 /* MDL leak, and its buffer freed */
  char *p = block(64); void *m = IoAllocateMdl(p, 64, 0, 0, 0); MmBuildMdlForNonPagedPool(m); ExFreePoolWithTag(p, TAG);
#elif CASE == 14 /* device and work item left */
  IoCreateDevice(driver, 0, 0, 0x22, 0, 0, &device); IoAllocateWorkItem(device);
#elif CASE == 15 /* paged pool at DISPATCH_LEVEL */
  u8 old = KfRaiseIrql(2); void *p = ExAllocatePool2(0x100, 8, TAG); KeLowerIrql(old); ExFreePoolWithTag(p, TAG);
#elif CASE == 16 /* two locks in both orders */
  static u64 second; both(&lock, &second); both(&second, &lock);
#elif CASE == 17 /* a breakpoint */
  __asm__ volatile("int3");
#elif CASE == 22 /* an event without a registration */
  EtwWriteTransfer(0x1234, &plain, 0, 0, 0, 0);
#elif CASE == 23 /* an event after the registration */
  u64 handle = traced(); EtwUnregister(handle); EtwWriteTransfer(handle, &plain, 0, 0, 0, 0);
#elif CASE == 24 /* registered when the image goes */
  traced();
#elif CASE == 25 /* unregistered twice */
  u64 handle = traced(); EtwUnregister(handle); EtwUnregister(handle);
#elif CASE == 26 /* registered at DISPATCH_LEVEL */
  u8 old = KfRaiseIrql(2); u64 handle = traced(); KeLowerIrql(old); EtwUnregister(handle);
#elif CASE == 27 /* registered twice */
  u64 first = traced(), second = traced(); EtwUnregister(first); EtwUnregister(second);
#elif CASE == 28 /* an event that is not what it says */
  u64 handle = traced(); describe(handle, 3); EtwUnregister(handle);
#elif CASE == 29 /* an event that is */
  u64 handle = traced(); describe(handle, 4); EtwUnregister(handle);
#elif CASE == 30 /* null pointer */
  *(volatile int *)8 = 1;
#elif CASE == 31 /* the IRQL read from CR8 */
  u64 v; __asm__ volatile("movq %%cr8, %0" : "=r"(v)); go = (int)v;
#elif CASE == 32 /* the processor block */
  u64 v; __asm__ volatile("movq %%gs:0x188, %0" : "=r"(v)); go = (int)v;
#elif CASE == 33 /* bug check */
  KeBugCheckEx(0x57736b55, 1, 2, 3, 4);
#elif CASE == 34 /* a bad pointer for the kernel */
  KeSetEvent((KEVENT *)0x123456789000, 0, 0);
#elif CASE == 35 /* beyond special pool's end */
  volatile char *p = block(64); p[64] = 1;
#elif CASE == 36 /* special pool after free */
  volatile char *p = block(64); ExFreePoolWithTag((void *)p, TAG); p[0] = 1;
#elif CASE == 37 /* its own code is written to */
  *(volatile char *)(void *)misbehave = 0x90;
#endif
}

/* An absolute address, for the loader to relocate. */
static void (*volatile routines[])(void *) = {unload};

NTSTATUS DriverEntry(DRIVER *driver, UNICODE_STRING *path) {
  driver->unload = routines[0];
  u8 level = KfRaiseIrql(2);
  KeLowerIrql(level);
  DbgPrint("hello %wZ %d\n", path, 7);
#if CASE == 40
  block(77); return (NTSTATUS)0xc000009a;
#endif
  misbehave(driver);
  return 0;
}
