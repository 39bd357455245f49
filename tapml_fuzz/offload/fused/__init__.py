"""Fused mode: from one compiled Relax library to another, function by function, inside the VM of the first."""
