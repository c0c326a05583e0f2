/* A driver that stops the system as the crate wdk-panic does when Rust code panics: code RPNC, then the file's name, its
   length, the line and the column. */
typedef unsigned int u32;
typedef unsigned long long u64;

#define IMPORT __declspec(dllimport)
IMPORT void KeBugCheckEx(u32, u64, u64, u64, u64);

int DriverEntry(void *driver, void *path) {
  static const char file[] = "src\\somewhere.rs";
  (void)driver; (void)path;
  KeBugCheckEx(0x52504e43, (u64)file, sizeof file - 1, 123, 45);
  return 0;
}
