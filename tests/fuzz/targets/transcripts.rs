//! A transcript of any bytes: no line of it is changed, and what is made ready once is ready.

#![no_main]

use libfuzzer_sys::fuzz_target;

mod disk;

fuzz_target!(|data: &[u8]| {
    disk::check(data);
});
