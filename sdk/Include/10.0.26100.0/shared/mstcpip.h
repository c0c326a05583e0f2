// TCP control operations, as documented under mstcpip.h.
#ifndef _MSTCPIP_
#define _MSTCPIP_

#include <ws2ipdef.h>

struct tcp_keepalive {
    ULONG onoff;
    ULONG keepalivetime;
    ULONG keepaliveinterval;
};

#define SIO_KEEPALIVE_VALS _WSAIOW(IOC_VENDOR, 4)
#define SIO_LOOPBACK_FAST_PATH _WSAIOW(IOC_VENDOR, 16)
#define SIO_TCP_INFO _WSAIORW(IOC_VENDOR, 39)

#endif
