//! What blocks, or has to be at PASSIVE_LEVEL, takes a token that callbacks and tasks at DISPATCH_LEVEL do not have, and cannot
//! be given.

use wsk::sync::Event;
use wsk::{Binding, Client, Executor, Handler, JoinHandle, Lane, Passive, SpawnError, Trace};

/// At PASSIVE_LEVEL: the token comes with the call.
pub struct Attached(pub &'static Client, pub &'static Event);

impl Handler for Attached {
    fn attached(&self, passive: Passive, _binding: Binding) {
        self.1.wait(passive);
    }

    fn trace(&self, _trace: Trace) {
        #[cfg(wrong)]
        self.1.wait(); //~ this method takes 1 argument but 0 arguments were supplied
        #[cfg(wrong)]
        let _ = self.0.deregister(); //~ this method takes 1 argument but 0 arguments were supplied
    }
}

#[cfg(wrong)]
pub struct Hoarder(pub Passive);

#[cfg(wrong)]
impl Handler for Hoarder {
    //~ cannot be s
    fn attached(&self, _passive: Passive, _binding: Binding) {}
}

#[cfg(wrong)]
pub static EVERYWHERE: Option<Passive> = None; //~ `*const ()` cannot be shared between threads safely

/// The passive thread's tasks have it, and keep it.
pub fn on_the_passive_thread(executor: &Executor, event: &'static Event) -> Result<JoinHandle<()>, SpawnError> {
    executor.spawn_passive(move |passive| async move { event.wait(passive) })
}

/// A task of a DPC sets what others wait for.
pub fn on_a_dpc(executor: &Executor, event: &'static Event) -> Result<JoinHandle<()>, SpawnError> {
    executor.spawn(Lane::Dispatch, async move { event.set() })
}

#[cfg(wrong)]
pub fn in_a_task_of_a_dpc(executor: &Executor, passive: Passive, event: &'static Event) {
    let _ = executor.spawn(Lane::Dispatch, async move { event.wait(passive) }); //~ future cannot be sent between threads safely
}

#[cfg(wrong)]
pub fn carried_over_an_await(executor: &Executor, passive: Passive, binding: Binding) {
    let _ = executor.spawn(Lane::Passive, async move {
        //~ future cannot be sent between threads safely
        let _ = wsk::resolve(passive, &binding, "host", "80", wsk::Hints::default()).await;
    });
}

#[cfg(wrong)]
pub fn given_away_as_an_output(executor: &Executor) {
    let _ = executor.spawn_passive(|passive| async move { passive }); //~ cannot be sent between threads safely
}

#[cfg(wrong)]
pub fn made_up() -> Passive {
    Passive::assume() //~ call to unsafe function
}
