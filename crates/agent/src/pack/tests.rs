//! Packing: leaves and runs, cut, resumed and started again.
