//! Between the program and the C library.
