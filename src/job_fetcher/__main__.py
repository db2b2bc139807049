"""`python -m job_fetcher`: what the image runs."""

from job_fetcher.cli import main

if __name__ == "__main__":
    main()
