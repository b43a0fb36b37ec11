//! Measures the supervisor beside bare ractor and Erlang/OTP, in one run and turn by turn: the ratios count, since the
//! machine is never quiet.
//!
//! `bench-otp [--rounds N] [MEASURE…]` prints one table of medians; the measures are `restart`, `group`, `window`,
//! `many` and `lookup`. OTP's side is measured where `erl` and `erlc` are installed, and left out elsewhere.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    reason = "a bench prints its figures, and stops when it cannot measure"
)]

mod bare;
mod crash;
mod figures;
mod lookup;
mod many;
mod otp;
mod rows;
mod runtimes;

use figures::Figures;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const MEASURES: [&str; 5] = ["restart", "group", "window", "many", "lookup"];

fn main() {
    let mut rounds = 5;
    let mut chosen = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            many::SIDE => return many::print(&mut arguments),
            "--rounds" => {
                rounds = arguments.next().and_then(|n| n.parse().ok()).expect("a number of rounds");
            }
            measure if MEASURES.contains(&measure) => chosen.push(argument),
            other => {
                eprintln!("measure one of {MEASURES:?}: {other:?} is none");
                return;
            }
        }
    }
    if chosen.is_empty() {
        chosen = MEASURES.map(str::to_owned).to_vec();
    }
    let otp = otp::Otp::find();
    if let Err(why) = &otp {
        println!("OTP is skipped: {why}\n");
    }
    let mut figures = Figures::default();
    for _ in 0..rounds {
        for measure in &chosen {
            match measure.as_str() {
                "restart" => crash::restart(&mut figures),
                "group" => crash::group(&mut figures),
                "window" => crash::window(&mut figures),
                "many" => many::many(&mut figures),
                _ => lookup::lookup(&mut figures),
            }
            if let Ok(otp) = &otp {
                otp.measure(measure, &mut figures);
            }
        }
    }
    println!("Medians of {rounds} rounds.\n");
    rows::print(&figures);
}
