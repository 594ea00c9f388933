"""The supervisor: the program that is sent to a target and runs there, in one exec request, for one deployment.

Standard library only, on Python 3.6 to 3.13. ``vesemir.adapters.ssh.delivery`` joins these modules to one program, in
its order of ``PARTS``, without their docstrings, annotations and imports of each other; so every top-level name is
unique among them, and no syntax is newer than 3.6. Imports are chosen by what they cost at each start: ``_ctypes`` for
``ctypes`` (4 ms), ``_signal`` for ``signal`` (which loads ``enum``, 5 ms; the delivery puts it in), no ``struct``,
``json``, ``base64``, ``subprocess`` or ``pathlib``.
"""
