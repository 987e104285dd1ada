//! The configuration: files become fragments, fragments become [`Settings`], and every value knows its place.

pub mod settings;

pub use settings::Settings;
