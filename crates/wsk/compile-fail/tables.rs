//! The provider's tables cannot be reached but through the library's own calls, each of which holds a right (L12): the
//! modules with rights and tables are private, and so is what handles point to.

use wsk::{Binding, TcpListener, TcpStream};

pub fn handles_say_what_they_may(binding: &Binding, listener: &TcpListener, stream: &TcpStream) -> (u32, u64, bool) {
    (binding.work().in_flight, listener.refused(), stream.is_stopping())
}

#[cfg(wrong)]
pub fn the_modules_are_private() {
    let _ = wsk::raw::calls::Call::begin; //~ module `raw` is private
    let _ = wsk::raw::binding::Enter::provider; //~ module `raw` is private
}

#[cfg(wrong)]
pub fn so_is_what_handles_point_to(binding: &Binding, listener: &TcpListener) {
    let _ = &binding.0; //~ field `0` of struct `Binding` is private
    let _ = &listener.socket; //~ field `socket` of struct `TcpListener` is private
}
