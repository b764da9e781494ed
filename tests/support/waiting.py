"""Waiting with a deadline, and doing many things at one moment."""
import threading
import time


def until(done, what, seconds=15, pause=0.01):
    """The first true value of done(); an AssertionError when the time is up."""
    deadline = time.monotonic() + seconds
    while not (value := done()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(pause)
    return value


def at_once(count, call):
    """call(0) … call(count - 1), all released at one moment; their results in order."""
    barrier, results = threading.Barrier(count), [None] * count

    def work(index):
        barrier.wait()
        try:
            results[index] = call(index)
        except OSError as problem:
            results[index] = problem

    threads = [threading.Thread(target=work, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
