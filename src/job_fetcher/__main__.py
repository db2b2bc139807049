"""`python -m job_fetcher`: what the image runs."""

from job_fetcher.cli import run

if __name__ == "__main__":
    run()
