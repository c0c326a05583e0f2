//! What a driver needs besides its sockets: entry points, a device, an executor, a registration, settings.
//!
//! [`driver!`](crate::driver) makes a driver out of one function; [`Parameters`] reads its settings. A driver that has more
//! to do in its entry point (devices for programs, say) makes [`Runtime`](crate::Runtime) and [`Client`](crate::Client) itself.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::fmt;
use core::future::Future;
use core::pin::{Pin, pin};

use crate::{Binding, Either, Passive, first, now};

pub use crate::raw::parameters::{Parameters, ValueError};

/// Makes a driver that runs one function: entry point, unload routine, allocator and panic handler are made by this line.
///
/// ```ignore
/// wsk::driver! { name: "hello", module: 0x6d1f3a52_90c4_4e0b_8f27_5bd31e66a904, main: main }
///
/// async fn main(binding: wsk::Binding, passive: wsk::Passive) -> Result<(), wsk::Error> {
///     Ok(())
/// }
/// ```
///
/// `main` is called for each [`Binding`](crate::Binding), that is whenever WSK is there, in a task on the passive thread. It
/// takes the binding alone, or also the [`Passive`](crate::Passive) token. What it answers (`()`, or a `Result` whose error can be
/// displayed) is printed for the debugger if it is an error, after `name`. When the binding is taken away, `main` is
/// dropped where it waits, and so is all that it holds; tasks that it has spawned go on, and end when their operations
/// answer with [`Detached`](crate::Detached) or their handles abort them. Unload waits for all of them.
///
/// `module` is the driver's GUID in the Network Module Registrar: a new one for each driver.
///
/// `handler: path` in place of `main:` names a static [`Handler`](crate::Handler) instead, for those who want to decide
/// what is done at an attachment.
#[macro_export]
macro_rules! driver {
    (name: $name:literal, module: $module:expr, main: $main:path $(,)?) => {
        const _: () = {
            struct Main;
            impl $crate::Handler for Main {
                fn attached(&self, _: $crate::Passive, binding: $crate::Binding) {
                    $crate::entry::run($name, binding, $main);
                }
            }
            static MAIN: Main = Main;
            $crate::driver! { name: $name, module: $module, handler: MAIN }
        };
    };
    (name: $name:literal, module: $module:expr, handler: $handler:path $(,)?) => {
        const _: () = {
            use $crate::entry::wdk_panic as _;

            #[global_allocator]
            static ALLOCATOR: $crate::entry::WdkAllocator = $crate::entry::WdkAllocator;

            /// # Safety
            /// Called by the I/O manager, or by the framework's FxDriverEntry, alone.
            #[unsafe(export_name = "DriverEntry")]
            unsafe extern "system" fn driver_entry(
                object: *mut $crate::entry::DRIVER_OBJECT,
                registry_path: *const $crate::entry::UNICODE_STRING,
            ) -> i32 {
                // SAFETY: the arguments are those of `DriverEntry`.
                unsafe { $crate::entry::start(object, registry_path, $name, $module, &$handler) }
            }
        };
    };
}

#[doc(hidden)]
pub use crate::raw::entry::start;
#[doc(hidden)]
pub use {
    wdk_alloc::WdkAllocator,
    wdk_panic,
    wdk_sys::{DRIVER_OBJECT, UNICODE_STRING},
};

/// What `main` may answer.
pub trait Outcome {
    /// The error, if it is one.
    fn error(&self) -> Option<&dyn fmt::Display>;
}

impl Outcome for () {
    fn error(&self) -> Option<&dyn fmt::Display> {
        None
    }
}

impl<E: fmt::Display> Outcome for Result<(), E> {
    fn error(&self) -> Option<&dyn fmt::Display> {
        self.as_ref().err().map(|error| error as _)
    }
}

/// The function that [`driver!`](crate::driver) runs: one that takes a [`Binding`], and perhaps a [`Passive`] token after it.
/// `Arguments` tells the two apart, and is inferred.
pub trait Main<Arguments>: Send + 'static {
    /// What it makes.
    type Future: Future<Output: Outcome> + 'static;

    /// Calls it.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn call(self, binding: Binding, passive: Passive) -> Self::Future;
}

impl<M, F> Main<(Binding,)> for M
where
    M: FnOnce(Binding) -> F + Send + 'static,
    F: Future<Output: Outcome> + 'static,
{
    type Future = F;

    fn call(self, binding: Binding, _: Passive) -> F {
        self(binding)
    }
}

impl<M, F> Main<(Binding, Passive)> for M
where
    M: FnOnce(Binding, Passive) -> F + Send + 'static,
    F: Future<Output: Outcome> + 'static,
{
    type Future = F;

    fn call(self, binding: Binding, passive: Passive) -> F {
        self(binding, passive)
    }
}

/// Runs `main` for a binding, until the binding ends.
#[doc(hidden)]
pub fn run<Arguments: 'static>(name: &'static str, binding: Binding, main: impl Main<Arguments>) {
    let executor = binding.executor().clone();
    let run = move |passive| async move {
        let mut end = pin!(binding.ended());
        // The wait takes its memory before `main` begins, and none later.
        match now(end.as_mut()).await {
            None => {}
            Some(Ok(())) => return,
            Some(Err(_)) => return wdk::println!("{name}: no memory to begin with"),
        }
        if let Some(outcome) = unless(end, main.call(binding.clone(), passive)).await
            && let Some(error) = outcome.error()
            // At the end of the binding every operation has an error, whichever comes first.
            && binding.is_open()
        {
            wdk::println!("{name}: {error}");
        }
    };
    if executor.spawn_passive(run).is_err() {
        wdk::println!("{name}: no memory to begin with");
    }
}

/// What a future comes to, unless the end comes first.
async fn unless<F: Future>(end: Pin<&mut impl Future>, future: F) -> Option<F::Output> {
    match first(future, end).await {
        Either::First(output) => Some(output),
        Either::Second(_) => None,
    }
}
