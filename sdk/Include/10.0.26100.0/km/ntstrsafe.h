// ntstrsafe.h: the inline string functions are not used from Rust.
#ifndef _NTSTRSAFE_H_INCLUDED_
#define _NTSTRSAFE_H_INCLUDED_

#include <ntdef.h>

#endif
