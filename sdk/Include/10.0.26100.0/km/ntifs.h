// ntifs.h: what is in ntddk.h, and nothing more that wskclient uses.
#ifndef _NTIFS_
#define _NTIFS_

#include <ntddk.h>

#endif
