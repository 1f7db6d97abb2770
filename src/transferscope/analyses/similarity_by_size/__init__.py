"""Feature similarity against the size of the training set (R4.8): is RI-T unlike P because its data is small?"""
