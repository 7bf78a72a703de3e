"""The stages of a job, one file each: fetch inputs, call, write one output.

Every stage module has the same face:

* ``OUTPUT``: name of the file or folder it leaves in the run's folder;
* ``run(recipe, sets, folder)``: do the work and write ``folder / OUTPUT``, whole or not at all.
"""
