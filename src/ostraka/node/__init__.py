"""The node: what makes a process with disks, clocks and peers out of engines that know none of them.

No asyncio and no threads: bytes, completions and time come in by calls, and three interfaces go out
(`Clock`, `Disk`, `Network`), so the simulator runs this very code.
"""
