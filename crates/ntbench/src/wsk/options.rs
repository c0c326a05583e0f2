//! Socket options of all sockets but datagram sockets: told to the network, and remembered as their clients gave them.
//!
//! The host and NT mean different things by sharing an address: a port in TIME_WAIT can be bound on NT without an option, and
//! SO_REUSEADDR there shares a port between listeners, if the second has it. Here the first is always so, and for the second
//! both must have it (SO_REUSEPORT of the host's).

#![allow(non_upper_case_globals)] // The documented names, in patterns.

use nt_abi::NtStatus;
use nt_abi::wsk::*;

use super::address;
use super::control::Control;
use super::faults::Function;
use super::socket::{Kind, Socket};
use super::state::Phase;
use super::transport::Setting;

/// The values of the options.
#[derive(Clone, Copy)]
pub(super) struct Options {
    /// SOCK_*.
    socket_type: u16,
    reuse_address: bool,
    exclusive: bool,
    keep_alive: bool,
    keep_idle: u32,
    keep_interval: u32,
    keep_count: u32,
    no_delay: bool,
    send_buffer: u32,
    receive_buffer: u32,
    only_v6: bool,
}

impl Default for Options {
    /// What Windows has.
    fn default() -> Self {
        Self {
            socket_type: SOCK_STREAM,
            reuse_address: false,
            exclusive: false,
            keep_alive: false,
            keep_idle: 7_200,
            keep_interval: 1,
            keep_count: 10,
            no_delay: false,
            send_buffer: 0x1_0000,
            receive_buffer: 0x1_0000,
            only_v6: true,
        }
    }
}

/// What an option is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Choice {
    ReuseAddress,
    Exclusive,
    KeepAlive,
    KeepIdle,
    KeepInterval,
    KeepCount,
    NoDelay,
    SendBuffer,
    ReceiveBuffer,
    OnlyV6,
}

impl Choice {
    fn of(level: u32, code: u32) -> Option<Self> {
        Some(match (level, code) {
            (SOL_SOCKET, SO_REUSEADDR) => Self::ReuseAddress,
            (SOL_SOCKET, SO_EXCLUSIVEADDRUSE) => Self::Exclusive,
            (SOL_SOCKET, SO_KEEPALIVE) => Self::KeepAlive,
            (SOL_SOCKET, SO_SNDBUF) => Self::SendBuffer,
            (SOL_SOCKET, SO_RCVBUF) => Self::ReceiveBuffer,
            (IPPROTO_TCP, TCP_NODELAY) => Self::NoDelay,
            (IPPROTO_TCP, TCP_KEEPALIVE) => Self::KeepIdle,
            (IPPROTO_TCP, TCP_KEEPINTVL) => Self::KeepInterval,
            (IPPROTO_TCP, TCP_KEEPCNT) => Self::KeepCount,
            (IPPROTO_IPV6, IPV6_V6ONLY) => Self::OnlyV6,
            _ => return None,
        })
    }

    /// It decides how the socket is bound.
    fn is_before_bind(self) -> bool {
        matches!(self, Self::ReuseAddress | Self::Exclusive | Self::OnlyV6)
    }

    /// It is the transport's, so that basic sockets have it too.
    fn is_transports(self) -> bool {
        matches!(self, Self::KeepIdle | Self::KeepInterval | Self::KeepCount | Self::NoDelay | Self::OnlyV6)
    }
}

impl Options {
    /// Of a socket of a SOCK_* type.
    pub(super) fn of(socket_type: u16) -> Self {
        Self { socket_type, ..Self::default() }
    }

    fn value(&self, option: Choice) -> u32 {
        match option {
            Choice::ReuseAddress => self.reuse_address.into(),
            Choice::Exclusive => self.exclusive.into(),
            Choice::KeepAlive => self.keep_alive.into(),
            Choice::KeepIdle => self.keep_idle,
            Choice::KeepInterval => self.keep_interval,
            Choice::KeepCount => self.keep_count,
            Choice::NoDelay => self.no_delay.into(),
            Choice::SendBuffer => self.send_buffer,
            Choice::ReceiveBuffer => self.receive_buffer,
            Choice::OnlyV6 => self.only_v6.into(),
        }
    }

    /// Takes a value over; what the network is to be told of it.
    fn change(&mut self, option: Choice, value: u32) -> Option<Setting> {
        let on = value != 0;
        let (place, setting) = match option {
            Choice::ReuseAddress => (&mut self.reuse_address, Setting::SharePort(on)),
            Choice::Exclusive => {
                self.exclusive = on;
                return None;
            }
            Choice::KeepAlive => (&mut self.keep_alive, Setting::KeepAlive(on)),
            Choice::NoDelay => (&mut self.no_delay, Setting::NoDelay(on)),
            Choice::OnlyV6 => (&mut self.only_v6, Setting::OnlyV6(on)),
            _ => return self.change_number(option, value),
        };
        *place = on;
        Some(setting)
    }

    fn change_number(&mut self, option: Choice, value: u32) -> Option<Setting> {
        let (place, setting) = match option {
            Choice::KeepIdle => (&mut self.keep_idle, Setting::KeepIdle(value)),
            Choice::KeepInterval => (&mut self.keep_interval, Setting::KeepInterval(value)),
            Choice::KeepCount => (&mut self.keep_count, Setting::KeepCount(value)),
            Choice::SendBuffer => (&mut self.send_buffer, Setting::SendBuffer(value)),
            Choice::ReceiveBuffer => (&mut self.receive_buffer, Setting::ReceiveBuffer(value)),
            _ => return None,
        };
        *place = value;
        Some(setting)
    }
}

impl Socket {
    /// WskControlSocket that sets an option.
    pub(super) fn set_option(&self, control: &Control) -> Result<(), NtStatus> {
        match (control.level, control.code) {
            (SOL_SOCKET, SO_CONDITIONAL_ACCEPT) => return self.set_conditional(control.number()? != 0),
            (SOL_SOCKET, SO_WSK_SECURITY) => return self.set_descriptor(control),
            _ => {}
        }
        let Some(option) = Choice::of(control.level, control.code) else {
            return Err(control.lacking(Function::ControlSocket, self.address()));
        };
        let value = control.number()?;
        if self.kind == Kind::Basic && !option.is_transports() {
            return Err(NtStatus::INVALID_DEVICE_REQUEST);
        }
        if option == Choice::OnlyV6 && value == 0 && self.shared.faults.current().is_some_and(|one| one.refuse_dual_stack) {
            return Err(NtStatus::NOT_SUPPORTED);
        }
        let mut inner = self.lock();
        if option.is_before_bind() && inner.phase != Phase::Fresh {
            return Err(NtStatus::INVALID_DEVICE_STATE);
        }
        let mut options = inner.options;
        let setting = options.change(option, value);
        if options.reuse_address && options.exclusive {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        if let (Some(setting), Some(endpoint)) = (setting, &inner.link.endpoint) {
            endpoint.set(setting).map_err(|error| address::status(&error))?;
        }
        inner.options = options;
        Ok(())
    }

    /// WskControlSocket that asks for an option's value.
    pub(super) fn get_option(&self, control: &Control) -> Result<usize, NtStatus> {
        match (control.level, control.code) {
            (SOL_SOCKET, SO_TYPE) => return control.write(u32::from(self.lock().options.socket_type)),
            (SOL_SOCKET, SO_ERROR) => {
                let failure = self.lock().link.failure.unwrap_or(NtStatus::SUCCESS);
                return control.write(failure.0);
            }
            (SOL_SOCKET, SO_CONDITIONAL_ACCEPT) if matches!(self.role(), Kind::Listen | Kind::Stream) => {
                return control.write(u32::from(self.lock().inspections.on));
            }
            (SOL_SOCKET, SO_WSK_SECURITY) => return self.descriptor(control),
            _ => {}
        }
        let Some(option) = Choice::of(control.level, control.code) else {
            return Err(control.lacking(Function::ControlSocket, self.address()));
        };
        if self.kind == Kind::Basic && !option.is_transports() {
            return Err(NtStatus::INVALID_DEVICE_REQUEST);
        }
        let value = self.lock().options.value(option);
        control.write(value)
    }
}
