"""An editor: a window on the whole terminal, and a file in which every key ends up."""

import curses
import os


def edit(window):
    with open(os.path.expanduser("~/notes"), "a") as notes:
        while True:
            notes.write(window.getkey())
            notes.flush()


curses.wrapper(edit)
