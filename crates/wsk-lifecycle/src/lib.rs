//! The lifecycle of a WSK client as pure state: rundown counts, socket table, operations, registration
