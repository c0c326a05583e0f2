// ntddk.h: what is in wdm.h, and nothing more that wskclient uses.
#ifndef _NTDDK_
#define _NTDDK_

#include <wdm.h>

#endif
