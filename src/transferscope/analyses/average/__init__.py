"""Whether networks that a study has anyway can be averaged into one."""
