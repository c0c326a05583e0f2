//! Growing a vector without a path that could panic.

use allocator_api2::alloc::Allocator;
use allocator_api2::vec::Vec;

use super::OutOfMemory;

/// Appends `value`.
///
/// # Errors
/// [`OutOfMemory`]; the value is dropped.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub fn try_push<T, A: Allocator>(list: &mut Vec<T, A>, value: T) -> Result<(), OutOfMemory> {
    list.try_reserve(1)?;
    let length = list.len();
    list.spare_capacity_mut().first_mut().ok_or(OutOfMemory)?.write(value);
    // SAFETY: the element behind the last one has just been written.
    unsafe { list.set_len(length + 1) };
    Ok(())
}
