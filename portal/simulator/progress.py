"""A bar on standard error while somebody watches."""

from __future__ import annotations

from typing import TextIO

WIDTH = 40


class Bar:
    """Silent where the stream is not a terminal."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown = -1

    def show(self, share: float) -> None:
        percent = min(int(share * 100), 100)
        if not self._stream.isatty() or percent == self._shown:
            return
        self._shown = percent
        done = WIDTH * percent // 100
        self._stream.write(f"\r[{'#' * done}{'.' * (WIDTH - done)}] {percent:3d} %" + ("\n" if percent == 100 else ""))
        self._stream.flush()
