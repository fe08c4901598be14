"""Inputs that several tests share, made once."""
import shutil

from harness import DATA, SHORT, run


class Inputs:
    def __init__(self, folder):
        self.folder = folder
        self.captures = folder / "captures"
        self.captures.mkdir()
        for name in ("quick.pcap", "resets.pcap", "office.pcapng", "parallel.pcap.gz", "reorder.pcap"):
            shutil.copy(DATA / name, self.captures)
        self.dataset = folder / "dataset.arrows"
        run("tcp-encode", "-q", self.captures, self.dataset).must(0)
        self._model = None

    @property
    def model(self):
        if self._model is None:
            self._model = self.folder / "model"
            run("tcp-train", "train", "--input-dir", self.dataset, "--output-dir", self._model, *SHORT).must(0)
        return self._model
