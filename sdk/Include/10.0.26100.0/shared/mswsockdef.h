// Definitions that Winsock's extensions share with the kernel, as documented under mswsockdef.h.
#ifndef _MSWSOCKDEF_
#define _MSWSOCKDEF_

#include <ws2def.h>

#define SO_UPDATE_CONNECT_CONTEXT 0x7010
#define SO_UPDATE_ACCEPT_CONTEXT 0x700B
#define SIO_SET_COMPATIBILITY_MODE _WSAIOW(IOC_VENDOR, 300)

#endif
