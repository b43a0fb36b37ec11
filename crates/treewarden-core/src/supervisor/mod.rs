//! The supervisor machine: OTP's supervisor as events and actions.
