//! The state of one binding, as a machine without memory of its own: no pointer, no lock, no callback.
//!
//! The registrar changes it under its lock and then does, without the lock, what the answer says. That is what makes
//! every decision of rules N3, N4, N6 and N7 one atomic step.
//!
//! ```text
//!           begin_attach        begin_provider_attach       end_provider_attach(ok)
//!  Offered ------------> Attaching <------------------> ProviderAttaching ------------> Attached
//!     |                      |      end_provider_attach(err)                               |
//!     | withdraw             | end_attach                                     begin_detach |
//!     v                      v                                                             v
//!    gone                  gone (no detach, no cleanup: N3)       Cleaning <---------- Detaching
//!                                                                    both sides finished and the
//!                                                                    attach callback has returned
//! ```

use crate::Side;

/// Where a binding is between its offer and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The two modules match; nobody has been called yet.
    Offered,
    /// ClientAttachProvider is running.
    Attaching,
    /// ... and inside it NmrClientAttachProvider, and inside that ProviderAttachClient.
    ProviderAttaching,
    /// Each side has the other's context and dispatch table.
    Attached,
    /// The detach callbacks are being or have been called.
    Detaching,
    /// Both sides have finished: the cleanup callbacks are being called.
    Cleaning,
}

/// How far one side has come with its detaching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detach {
    /// The callback has not been called.
    Idle,
    /// The callback is running.
    Calling,
    /// The callback is running and completion has been reported already (N7).
    CompletedEarly,
    /// The callback returned STATUS_PENDING.
    Pending,
    /// Finished by returning STATUS_SUCCESS.
    Returned,
    /// Finished by reporting completion.
    Completed,
}

impl Detach {
    fn finished(self) -> bool {
        matches!(self, Detach::Returned | Detach::Completed)
    }
}

/// A rule broken by a module, with what it did.
pub(crate) struct Misuse {
    pub rule: &'static str,
    pub text: &'static str,
}

const fn n7(text: &'static str) -> Misuse {
    Misuse { rule: "N7", text }
}

/// What the return of ClientAttachProvider leads to.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AfterAttach {
    /// The binding stands.
    Stay,
    /// A deregistration came meanwhile: call detach on both sides (N6).
    Detach,
    /// Detach is under way elsewhere, or waits for a side.
    Wait,
    /// Detach has finished meanwhile: clean up.
    Cleanup,
    /// Refused: the binding is gone without a further callback (N3).
    Gone,
}

/// What a deregistration has to do with a binding.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BeginDetach {
    /// Call detach on both sides.
    Call,
    /// It was never begun: it is gone.
    Withdrawn,
    /// Somebody else detaches it, now or when the attach has finished.
    Leave,
}

/// What the end of one side's detaching leads to.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum AfterDetach {
    /// The other side (or the attach callback) is still out.
    Wait,
    /// That was the last: clean up both sides.
    Cleanup,
}

/// The whole state of a binding.
#[derive(Debug)]
pub(crate) struct State {
    phase: Phase,
    attach_running: bool,
    client_left: bool,
    client: Detach,
    provider: Detach,
}

impl State {
    pub fn new() -> State {
        State { phase: Phase::Offered, attach_running: false, client_left: false, client: Detach::Idle, provider: Detach::Idle }
    }

    /// Nobody has been called for this binding yet.
    pub fn is_offered(&self) -> bool {
        self.phase == Phase::Offered
    }

    /// ClientAttachProvider is about to be called.
    pub fn begin_attach(&mut self) {
        debug_assert!(self.is_offered());
        self.phase = Phase::Attaching;
        self.attach_running = true;
    }

    /// NmrClientAttachProvider has been called.
    pub fn begin_provider_attach(&mut self) -> Result<(), Misuse> {
        let text = match self.phase {
            Phase::Attaching => {
                self.phase = Phase::ProviderAttaching;
                return Ok(());
            }
            Phase::ProviderAttaching => "NmrClientAttachProvider called twice at once",
            _ if self.attach_running => "NmrClientAttachProvider called again after it succeeded",
            _ => "NmrClientAttachProvider called outside ClientAttachProvider",
        };
        Err(Misuse { rule: "N2", text })
    }

    /// ProviderAttachClient has returned.
    pub fn end_provider_attach(&mut self, success: bool) {
        self.phase = if success { Phase::Attached } else { Phase::Attaching };
    }

    /// ClientAttachProvider has returned. `deregistering`: one of the two modules is on its way out.
    pub fn end_attach(&mut self, success: bool, deregistering: bool) -> (AfterAttach, Option<Misuse>) {
        self.attach_running = false;
        let misuse = self.attach_misuse(success);
        let after = match self.phase {
            Phase::Attached if !success => {
                self.client_left = true;
                self.client = Detach::Returned;
                self.phase = Phase::Detaching;
                AfterAttach::Detach
            }
            Phase::Attached if deregistering => {
                self.phase = Phase::Detaching;
                AfterAttach::Detach
            }
            Phase::Attached => AfterAttach::Stay,
            Phase::Detaching if self.both_finished() => {
                self.phase = Phase::Cleaning;
                AfterAttach::Cleanup
            }
            Phase::Detaching => AfterAttach::Wait,
            _ => AfterAttach::Gone,
        };
        (after, misuse)
    }

    fn attach_misuse(&self, success: bool) -> Option<Misuse> {
        let attached = matches!(self.phase, Phase::Attached | Phase::Detaching);
        match (success, attached) {
            (true, false) => {
                Some(Misuse { rule: "N2", text: "ClientAttachProvider returned success without having attached to the provider" })
            }
            (false, true) => Some(Misuse {
                rule: "L08",
                text: "ClientAttachProvider returned a failure after NmrClientAttachProvider had succeeded",
            }),
            _ => None,
        }
    }

    /// Whether a deregistration has something to do here.
    pub fn can_begin_detach(&self, early: bool) -> bool {
        self.is_offered() || (self.phase == Phase::Attached && (early || !self.attach_running))
    }

    /// A deregistration has come to this binding. `early`: detach may overtake the end of ClientAttachProvider.
    pub fn begin_detach(&mut self, early: bool) -> BeginDetach {
        match self.phase {
            Phase::Offered => BeginDetach::Withdrawn,
            _ if self.can_begin_detach(early) => {
                self.phase = Phase::Detaching;
                BeginDetach::Call
            }
            _ => BeginDetach::Leave,
        }
    }

    /// One side's detach callback is about to be called. False: that side is to be left alone.
    pub fn begin_detach_call(&mut self, side: Side) -> bool {
        if side == Side::Client && self.client_left {
            return false;
        }
        debug_assert_eq!(*self.side(side), Detach::Idle);
        *self.side(side) = Detach::Calling;
        true
    }

    /// One side's detach callback has returned STATUS_PENDING, or else STATUS_SUCCESS.
    pub fn end_detach_call(&mut self, side: Side, pending: bool) -> (AfterDetach, Option<Misuse>) {
        let early = *self.side(side) == Detach::CompletedEarly;
        let misuse =
            (early && !pending).then(|| n7("detach was reported complete, and then the detach callback returned STATUS_SUCCESS"));
        *self.side(side) = match (pending, early) {
            (true, false) => Detach::Pending,
            (true, true) => Detach::Completed,
            (false, _) => Detach::Returned,
        };
        (self.after_detach(), misuse)
    }

    /// One side has reported that its detaching is complete.
    pub fn complete_detach(&mut self, side: Side) -> Result<AfterDetach, Misuse> {
        *self.side(side) = match *self.side(side) {
            Detach::Calling => Detach::CompletedEarly,
            Detach::Pending => Detach::Completed,
            Detach::Idle => return Err(n7("detach reported complete before the detach callback was called")),
            Detach::Returned => {
                return Err(n7("detach reported complete after the detach callback had returned STATUS_SUCCESS"));
            }
            Detach::CompletedEarly | Detach::Completed => return Err(n7("detach reported complete twice")),
        };
        Ok(self.after_detach())
    }

    /// Whether that side's cleanup callback is to be called.
    pub fn needs_cleanup(&self, side: Side) -> bool {
        !(side == Side::Client && self.client_left)
    }

    fn after_detach(&mut self) -> AfterDetach {
        if self.attach_running || !self.both_finished() || self.phase != Phase::Detaching {
            return AfterDetach::Wait;
        }
        self.phase = Phase::Cleaning;
        AfterDetach::Cleanup
    }

    fn both_finished(&self) -> bool {
        self.client.finished() && self.provider.finished()
    }

    fn side(&mut self, side: Side) -> &mut Detach {
        match side {
            Side::Client => &mut self.client,
            Side::Provider => &mut self.provider,
        }
    }
}
