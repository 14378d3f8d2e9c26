"""Heavy code of the compendium: acute stroke core segmentation in CT perfusion (Clèrigues et al. 2019)."""
