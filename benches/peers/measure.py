"""Clocks, summaries and the description of the machine."""

import os
import platform
import resource
import statistics
import time

import torch

# of an idle process: torch is loaded, nothing has run
IDLE_MIB = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Clock:
    """Marks on a device timeline; `gaps()` gives milliseconds between them."""

    def __init__(self, cuda):
        self.cuda, self.marks, self.cpu = cuda, [], []

    def mark(self):
        if self.cuda:
            e = torch.cuda.Event(enable_timing=True)
            e.record()
            self.marks.append(e)
        else:
            self.marks.append(time.perf_counter())
            self.cpu.append(time.process_time())

    def cpu_gaps(self):
        """Processor milliseconds: less disturbed by other load than wall time, and equal to it for one
        thread on an idle machine."""
        return [(b - a) * 1e3 for a, b in zip(self.cpu, self.cpu[1:])]

    def gaps(self):
        if self.cuda:
            torch.cuda.synchronize()
            return [a.elapsed_time(b) for a, b in zip(self.marks, self.marks[1:])]
        return [(b - a) * 1e3 for a, b in zip(self.marks, self.marks[1:])]


def summary(ms):
    raw, ms = list(ms), sorted(ms)
    return {"median": statistics.median(ms), "min": ms[0], "max": ms[-1],
            "p10": ms[int(0.1 * (len(ms) - 1))], "p90": ms[int(0.9 * (len(ms) - 1))],
            "n": len(ms), "samples": raw}


def peak_memory(cuda):
    m = {"host_peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
         "host_idle_rss_mib": IDLE_MIB}
    if cuda:
        m["device_peak_allocated_mib"] = torch.cuda.max_memory_allocated() / 2**20
        m["device_peak_reserved_mib"] = torch.cuda.max_memory_reserved() / 2**20
    return m


def environment(device):
    env = {"torch": torch.__version__, "python": platform.python_version(),
           "threads": torch.get_num_threads()}
    if device.type == "cuda":
        p = torch.cuda.get_device_properties(device)
        env.update(device=p.name, sms=p.multi_processor_count, cuda=torch.version.cuda,
                   cudnn=torch.backends.cudnn.version(), memory_gib=p.total_memory / 2**30)
    elif device.type == "cpu":
        env.update(device="cpu", isa=torch.backends.cpu.get_cpu_capability(),
                   cores=os.cpu_count())
        if hasattr(os, "getloadavg"):
            env["load_at_start"] = os.getloadavg()[0]
    return env
