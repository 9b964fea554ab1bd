"""The relay, the installer and the other programs call the same file systems those of the network."""

from router import network_folders
from shim import file_systems, installer

MOUNTS = """\
22 1 259:1 / / rw shared:1 - ext4 /dev/root rw
40 22 0:40 / /gpfs/fs1 rw - gpfs fs1 rw
41 40 0:41 / /gpfs/fs1/local rw - xfs /dev/sdb rw
42 22 0:42 / /a\\040b rw - nfs4 x rw
43 22 0:43 / /over rw - gpfs fs2 rw
44 43 0:44 / /over rw - ext4 /dev/sdc rw
odd
"""


def test_both_know_the_same_types():
    assert file_systems.NETWORK == network_folders.TYPES


def test_all_find_the_same_mount(tmp_path, monkeypatch):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)
    monkeypatch.setattr(installer, "MOUNTS", str(mounts))
    for folder, kind in {
        "/gpfs/fs1": "gpfs",
        "/gpfs/fs1/spool": "gpfs",
        "/gpfs/fs1/local/spool": "",
        "/gpfs/fs10": "",
        "/a b/c": "nfs4",
        "/over/spool": "",
        "/": "",
    }.items():
        path = tmp_path.__class__(folder)
        assert network_folders.file_system(path, mounts) == kind, folder
        assert file_systems.network_type(path, mounts) == kind, folder
        assert installer.file_system(folder) == (kind or {"/gpfs/fs1/local/spool": "xfs"}.get(folder, "ext4")), folder
    assert file_systems.network_type(tmp_path, tmp_path / "none") == ""
