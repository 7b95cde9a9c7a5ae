"""A directory is there as a whole or not at all, and says which of its files is damaged."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from rl_sample import files
from rl_sample.files import (
    DamagedError,
    check_files,
    new_directory,
    read_manifest,
    remove_directory,
    written_directories,
)


def write(target, text, **about):
    with new_directory(target, **about) as draft:
        (draft / "sub").mkdir()
        (draft / "sub" / "a.txt").write_text(text)


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def written(tmp_path):
    write(tmp_path / "runs" / "one", "first", kind="test", score=0.1)
    return tmp_path / "runs" / "one"


def test_what_was_written_is_there_with_its_manifest(written):
    manifest = read_manifest(written)
    check_files(written, manifest)
    assert (manifest["kind"], manifest["score"]) == ("test", 0.1)
    assert manifest["files"]["sub/a.txt"]["bytes"] == 5
    assert names(written) == ["manifest.json", "sub"]
    assert names(written.parent) == ["one"]


def test_writing_again_replaces(written):
    write(written, "second")
    assert (written / "sub" / "a.txt").read_text() == "second"
    assert names(written.parent) == ["one"]


def test_a_write_that_fails_changes_nothing(written):
    def fail():
        with new_directory(written) as draft:
            (draft / "b.txt").write_text("half")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert names(written.parent) == ["one"]
    check_files(written, read_manifest(written))


def test_a_rename_that_fails_puts_the_old_one_back(written, monkeypatch):
    rename = type(written).rename

    def failing(path, target):
        if "rl-draft" in path.name:
            raise OSError("no more")
        return rename(path, target)

    monkeypatch.setattr(type(written), "rename", failing)
    with pytest.raises(OSError, match="no more"):
        write(written, "second")
    assert names(written.parent) == ["one"]
    assert (written / "sub" / "a.txt").read_text() == "first"


def test_somebody_elses_directory_is_not_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("")
    with pytest.raises(FileExistsError, match=r"thesis exists and has no manifest\.json"):
        write(tmp_path / "thesis", "x")
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", "x")
    assert names(tmp_path) == ["empty", "thesis"]


def test_a_draft_inside_a_draft_is_part_of_it(tmp_path):
    with new_directory(tmp_path / "outer") as draft:
        write(draft / "inner", "x", kind="inner")
    assert names(tmp_path) == ["outer"]
    assert names(tmp_path / "outer") == ["inner", "manifest.json"]
    assert read_manifest(tmp_path / "outer" / "inner")["kind"] == "inner"
    assert "inner/manifest.json" in read_manifest(tmp_path / "outer")["files"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), r"sub/a\.txt is missing"),
        (lambda file: file.write_bytes(b""), r"a\.txt is damaged: 0 bytes where 5 were written"),
        (lambda file: file.write_bytes(b"First"), r"5 bytes where 5 were written, or other ones"),
        (lambda file: (file.unlink(), file.mkdir()), r"a\.txt cannot be read"),
    ],
)
def test_a_damaged_file_is_named(written, damage, message):
    damage(written / "sub" / "a.txt")
    with pytest.raises(DamagedError, match=message):
        check_files(written, read_manifest(written))


def test_every_flipped_byte_of_a_manifest_is_noticed_or_harmless(written):
    path = written / "manifest.json"
    good, said = path.read_bytes(), read_manifest(written)
    for position in range(len(good)):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        try:
            assert read_manifest(written) == said
        except DamagedError:
            continue


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": {}, "sha256": 1}', "\xff"])
def test_a_manifest_that_is_not_ours(written, text):
    (written / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(DamagedError, match=r"manifest\.json is damaged"):
        read_manifest(written)
    (written / "manifest.json").unlink()
    with pytest.raises(DamagedError, match=r"manifest\.json is missing"):
        read_manifest(written)


def test_what_a_killed_writer_moved_aside_is_found_and_put_back(written):
    old = written.with_name(".one.rl-old-0123abcd")
    written.rename(old)
    written.with_name(".one.rl-draft-0123abcd").mkdir()
    assert written_directories(written.parent) == {"one": old}
    write(written.with_name("two"), "x")
    assert names(written.parent) == ["one", "two"]


def test_leftovers_are_swept_up_but_nothing_else(written):
    for name in (".one.rl-old-0123abcd", ".gone.rl-draft-0123abcd", ".one.draft", ".git"):
        (written.parent / name).mkdir()
    write(written, "second")
    assert names(written.parent) == [".git", ".one.draft", "one"]


@pytest.mark.skipif(files.fcntl is None, reason="needs file locks")
def test_drafts_of_a_living_writer_are_left_alone(tmp_path):
    code = (
        "import sys; from rl_sample.files import new_directory\n"
        f"with new_directory({str(tmp_path / 'theirs')!r}):\n"
        "    print('writing', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "writing\n"
        write(tmp_path / "ours", "x")
        assert len([name for name in names(tmp_path) if name.startswith(".theirs.")]) == 1
        child.kill()
    write(tmp_path / "ours", "x")
    assert names(tmp_path) == ["ours"]


def test_removing(written):
    write(written.with_name("two"), "x")
    remove_directory(written)
    assert names(written.parent) == ["two"]


def test_the_manifest_says_no_more_than_it_was_told(written):
    manifest = json.loads((written / "manifest.json").read_text())
    assert manifest.keys() == {"kind", "score", "files", "sha256"}
