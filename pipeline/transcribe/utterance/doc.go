package utterance
