//! OTP's side: an Erlang program, compiled for the occasion, that prints its figures.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::figures::Figures;

/// Where the compiled program is; removed in the end.
pub(crate) struct Otp(PathBuf);

impl Otp {
    /// Compiles the program, or says why there is none.
    pub(crate) fn find() -> Result<Self, String> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracle/bench_otp.erl");
        let otp = Self(std::env::temp_dir().join(format!("bench-otp-{}", std::process::id())));
        std::fs::create_dir_all(&otp.0).map_err(|error| format!("make {}: {error}", otp.0.display()))?;
        let output = Command::new("erlc").arg("-o").arg(&otp.0).arg(source).output();
        let output = output.map_err(|error| format!("run erlc: {error}"))?;
        if !output.status.success() {
            return Err(format!("erlc failed: {}", String::from_utf8_lossy(&output.stdout)));
        }
        Ok(otp)
    }

    /// Measures one thing, and adds the figures as `NAME otp`.
    pub(crate) fn measure(&self, measure: &str, figures: &mut Figures) {
        let mut erl = Command::new("erl");
        erl.args(["-noshell", "-pa"]).arg(&self.0).args(["-run", "bench_otp", "main", measure]);
        figures.add_printed("otp", &erl.output().expect("erl runs").stdout);
    }
}

impl Drop for Otp {
    fn drop(&mut self) {
        // What is left in the temporary folder does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
