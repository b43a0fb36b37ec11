//! Supervises any ractor actor as OTP's supervisor does.
