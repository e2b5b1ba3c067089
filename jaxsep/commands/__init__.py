"""The commands of ``jaxsep``, one file each."""
