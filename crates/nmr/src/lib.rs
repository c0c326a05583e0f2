//! A Network Module Registrar over NT kernel functions
