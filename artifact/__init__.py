"""Builds what is shipped: one tarball per version that installs without a network (`python -m artifact`).

    vesemir-VERSION/
      install             makes PREFIX/releases/VERSION, and switches PREFIX/current when told to
      requirements.txt    every library at one version, by the hash of the one file that is in wheels/
      wheels/             our own wheel and the libraries', for CPython 3.11 and 3.13 on x86-64 Linux (Debian 12, 13)
      share/              config/, systemd/, docs/, sql/roles/, onhost/supervisor.py: copied into the release
      sbom.json           what is inside, with licences and hashes (CycloneDX)
      SHA256SUMS          of every file above

The same commit gives the same bytes: entries are sorted, owners, modes and times fixed, the time that of the commit.
"""
