//! Between an exchange's own spelling of a symbol and our directions.
