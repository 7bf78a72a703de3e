"""The world of the testbed: its domains, how their pictures are drawn, and what their captions say."""
