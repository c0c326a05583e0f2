// The part of KMDF 1.31 that wskclient and the `wdk` crate use, written from the public API pages.
#ifndef _WDF_H_
#define _WDF_H_

#include <wdm.h>

#define WdfFunctions WdfFunctions_01031
typedef VOID (*WDFFUNC)(VOID);
extern const WDFFUNC *WdfFunctions;

#include "wdftypes.h"
#include "wdffuncenum.h"
#include "wdfobject.h"
#include "wdfdriver.h"
#include "wdfdevice.h"
#include "wdfio.h"
#include "wdfsync.h"

#endif
