"""Drift: is what comes in still what the model was made for, and are its answers still right?"""
