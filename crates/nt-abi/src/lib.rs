//! The NT kernel's structures as the bench knows them, written independently of sdk/
