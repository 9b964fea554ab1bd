"""Which folders are on a file system of the network."""

from pathlib import Path

import pytest

from router.network_folders import file_system, warning

MOUNTS = """\
22 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw
40 22 0:40 / /gpfs/fs1 rw,relatime shared:2 - gpfs fs1 rw,dev=fs1
41 22 0:41 / /nfs rw - nfs4 server:/export rw,vers=4.2
42 41 0:42 / /nfs/local rw - xfs /dev/sdb rw
43 22 0:43 / /with\\040blank rw - lustre mgs:/x rw
44 22 0:44 / /over rw - gpfs fs2 rw
45 44 0:45 / /over rw - ext4 /dev/sdc rw
46 22 0:46 / {folder}/mounted rw - gpfs fs3 rw
nonsense
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    file = tmp_path / "mountinfo"
    file.write_text(MOUNTS.replace("{folder}", str(tmp_path)))
    return file


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/gpfs/fs1", "gpfs"),
        ("/gpfs/fs1/clusterbus/spool", "gpfs"),
        ("/gpfs", ""),
        ("/gpfs/fs10", ""),
        ("/nfs/me", "nfs4"),
        ("/nfs/local/x", ""),
        ("/with blank/x", "lustre"),
        ("/over/x", ""),
        ("/", ""),
        ("/var/lib/../../gpfs/fs1", "gpfs"),
    ],
)
def test_a_folder_is_on_the_nearest_mount_above_it(mounts: Path, path: str, kind: str) -> None:
    assert file_system(Path(path), mounts) == kind


def test_links_are_followed_as_far_as_they_are_local(tmp_path: Path, mounts: Path) -> None:
    (tmp_path / "link").symlink_to("/gpfs/fs1/spool")
    (tmp_path / "relative").symlink_to("mounted/deep")
    (tmp_path / "chain").symlink_to("relative")
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "local").symlink_to(".")

    found = {each.name for each in tmp_path.iterdir() if file_system(each / "new", mounts) == "gpfs"}

    assert found == {"link", "relative", "chain"}
    assert file_system(tmp_path / "local" / "mounted", mounts) == "gpfs"


def test_a_warning_names_path_type_and_way_out(mounts: Path, tmp_path: Path) -> None:
    assert warning(tmp_path, mounts) == ""
    assert warning(Path("/gpfs/fs1/jobs"), mounts).startswith("/gpfs/fs1/jobs is on gpfs, a file system of the network")
    assert warning(Path("/gpfs/fs1/jobs"), mounts).endswith("use a local disk")
    assert warning(Path("/gpfs/fs1"), tmp_path / "no mountinfo") == ""
